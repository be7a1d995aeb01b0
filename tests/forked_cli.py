"""Runs `conical` commands in processes of their own, forked from one that has the libraries loaded already.

Reads a JSON line a command from standard input, `{"words": [...], "environment": {...}, "stderr": path}`, and answers
with the exit code. A fresh interpreter takes seconds a command only to import the same libraries again.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import conical.cli.show
import conical.on_ray.tune
import conical.runs.report.builder
import conical.tracking  # noqa: F401  loaded once, for every command
from conical.cli.main import run


def _run_forked(words: list[str], environment: dict[str, str], stderr: str) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        file = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.environ.clear()
        os.environ.update(environment)
        run(words)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 0
    except BaseException:  # noqa: BLE001  what would be a traceback of the real command
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        order = json.loads(line)
        print(_run_forked(order["words"], order["environment"], str(Path(order["stderr"]))), flush=True)

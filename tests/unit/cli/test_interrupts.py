"""Ctrl-C once, twice and three times, and the small ways into the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import conical

# a command that takes its time, and takes its time to end: as training, and Ray at exit
_PROGRAM = """
import atexit, sys, time
import conical.workbench.doctor.checks as checks

def farewell():
    print("leaving", flush=True)
    time.sleep(float(sys.argv[1]))
    print("left", flush=True)

def work(**_):
    try:
        print("working", flush=True)  # inside: the signal may come at once
        time.sleep(60)
    finally:
        print("tidied", flush=True)

atexit.register(farewell)
checks.run_checks = work
from conical.cli.main import run
run(["doctor"])
"""


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(conical.__file__).parent.parent),
        "CONICAL_WORKSPACE": str(tmp_path / "workspace"),
    }
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("times", "last", "lines"),
    [(1, "left", 1), (2, "left", 3), (3, "leaving", 3)],
    ids=["once", "twice", "three times"],
)
def test_an_interruption_says_what_is_kept(tmp_path: Path, times: int, last: str, lines: int) -> None:
    process = start(tmp_path, "-c", _PROGRAM, "2" if times < 3 else "60")
    assert process.stdout is not None
    for count, expected in enumerate(("working", "tidied", "leaving")):
        assert process.stdout.readline().strip() == expected
        # the first while it works, the others while it ends
        if count == 0:
            process.send_signal(signal.SIGINT)
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
        if times == 3:
            assert process.stderr is not None
            while "once more" not in (line := process.stderr.readline()) and line:
                pass
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert ("left" in out) is (last == "left")
    assert "Traceback" not in err
    if times < 3:
        assert len(err.splitlines()) == lines
        assert "interrupted: what was finished is kept, and the same command goes on from there (conical doctor)" in err


def test_the_module_is_the_program(tmp_path: Path) -> None:
    out, err = start(tmp_path, "-m", "conical", "--version").communicate(timeout=60)
    assert (out, err) == (f"conical {conical.__version__}\n", "")

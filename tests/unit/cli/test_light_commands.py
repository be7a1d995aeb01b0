"""Commands that only show what is stored load neither torch nor Ray: they answer in well under a second."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import conical
from unit.runs.stored_runs import scored_run, write_workspace

_PROGRAM = """
import sys
from conical.cli.main import run
try:
    run(sys.argv[1:])
except SystemExit as leave:
    code = leave.code
print("exit", code, "loaded", *sorted({"torch", "ray", "mlflow"} & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    stored = write_workspace(root)
    scored_run(stored, "one", key="aaaa1111", skill=1.0)
    scored_run(stored, "two", key="bbbb2222", skill=2.0)
    np.save(root / "sim.npy", np.eye(5, dtype=np.float32))
    return root


def _last_line(workspace: Path, *words: str) -> str:
    """What the command loaded, and its exit code."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(conical.__file__).parent.parent),
        "CONICAL_WORKSPACE": str(workspace),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-c", _PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=workspace)
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        *("ingest", "caption", "train", "tune", "evaluate", "compare", "report", "score", "export", "list"),
        *("status", "demo", "ui", "doctor", "data import", "data audit", "data show", "data stats"),
    ],
)
def test_help_loads_nothing_heavy(workspace: Path, command: str) -> None:
    assert _last_line(workspace, *command.split(), "--help") == "exit 0 loaded"


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "one", "two"),
        ("report",),
        ("report", "one"),
        ("list", "runs"),
        ("list", "losses"),
        ("list", "heads"),
        ("list", "models"),
        ("list", "captioners"),
        ("list", "prompts"),
        ("list", "datasets"),
        ("score", "sim.npy"),
        ("status",),
        ("train", "--dry-run"),
    ],
    ids=" ".join,
)
def test_a_command_that_shows_what_is_stored_loads_nothing_heavy(workspace: Path, words: tuple[str, ...]) -> None:
    assert _last_line(workspace, *words) == "exit 0 loaded"

"""The code hash in every run's key: it moves with what can change a number, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import conical
from conical.runs.identity import identify
from conical.runs.provenance import DETERMINING_ROOMS, code_hash
from unit.runs.stored_runs import experiment, write_workspace

PACKAGE = Path(conical.__file__).parent


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("copy") / "conical"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("assets", "__pycache__"))
    return package


def _reworded(package: Path, file: str) -> str:
    """The hash of the package with one line more in a file, which is then put back."""
    path = package / file
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n# said in other words\n", encoding="utf-8")
    try:
        return code_hash.__wrapped__(package)
    finally:
        path.write_text(text, encoding="utf-8")


def test_a_copy_of_the_package_has_the_same_hash(copied: Path) -> None:
    assert code_hash.__wrapped__(copied) == code_hash()


@pytest.mark.parametrize(
    "file",
    [
        "workbench/doctor/checks.py",
        "workbench/bench/harness.py",
        "workbench/tiny_models/build.py",
        "workbench/frame_accuracy/suite.py",
        "reports/tables.py",
        "runs/report/builder.py",
        "library/auditing.py",
        "tracking/mlflow_tracker.py",
        "cli/main.py",
    ],
)
def test_a_reworded_line_of_what_only_shows_leaves_the_hash(copied: Path, file: str) -> None:
    assert _reworded(copied, file) == code_hash()


@pytest.mark.parametrize("room", DETERMINING_ROOMS)
def test_a_changed_line_of_what_computes_changes_the_hash(copied: Path, room: str) -> None:
    path = copied / room
    file = path if path.suffix == ".py" else min(path.rglob("*.py"))
    assert _reworded(copied, str(file.relative_to(copied))) != code_hash()


def test_every_room_is_either_determining_or_known_to_show() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms - set(DETERMINING_ROOMS) == {"cli", "library", "reports", "runs", "tracking", "workbench"}


def test_a_changed_file_of_a_loss_from_outside_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = tmp_path / "lab" / "lab_of_keys.py"
    lab.parent.mkdir()
    lab.write_text("from conical.losses import LOSSES\nCARD = LOSSES['ceo']\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(lab.parent))
    workspace = write_workspace(tmp_path / "workspace")
    own, outside = (identify(experiment(*more), workspace).depends_on for more in ((), ("loss.name=lab_of_keys:CARD",)))
    assert "code of loss" not in own.data
    lab.write_text(lab.read_text(encoding="utf-8") + "# mended\n", encoding="utf-8")
    mended = identify(experiment("loss.name=lab_of_keys:CARD"), workspace).depends_on
    assert mended.changes_since(outside) == ("code of loss",)
    assert mended.key != outside.key

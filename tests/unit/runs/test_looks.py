"""A look at test counts for whatever trained the same, under any experiment, label or sweep."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conical.metrics import EvaluationName
from conical.runs.looks import with_all_looks
from conical.runs.report.builder import build_report
from conical.store import RunFolder, Workspace
from unit.runs.stored_runs import evaluation, experiment, write_run, write_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path)


def looked(workspace: Workspace, *overrides: str, key: str, looks: int) -> RunFolder:
    records = [evaluation(split, skill=1.0) for split in ("val", "test")]
    return write_run(workspace, experiment(*overrides), *records, key=key, looks=looks)


@pytest.mark.parametrize(
    ("overrides", "is_same"),
    [
        (("name=another",), True),
        (("label=another",), True),
        (("ray.num_workers=2", "evaluate.dsl_tau=50.0", "tune.num_trials=3"), True),
        (("seed=1",), False),
        (("loss.tau_tv=30.0",), False),
        (("mix={human=0.5, A=0.5}",), False),
    ],
)
def test_what_trained_the_same_shares_its_looks(
    workspace: Workspace, overrides: tuple[str, ...], is_same: bool
) -> None:
    run = looked(workspace, key="a", looks=1)
    other = looked(workspace, *overrides, key="b", looks=2)
    assert with_all_looks(run).test_looks == (3 if is_same else 1)
    assert with_all_looks(other).test_looks == (3 if is_same else 2)
    note = with_all_looks(run).looks_note(EvaluationName(split="test", protocol="captioned-gallery"))
    assert note == ("test was looked at 3 times, 3 of them as here" if is_same else "")
    rows = {row.label: row.note for row in build_report(workspace, "demo").rows if row.split == "test"}
    assert any("test was looked at 3 times" in text for text in rows.values()) is is_same


def test_other_data_are_another_training(workspace: Workspace) -> None:
    run, other = looked(workspace, key="a", looks=1), looked(workspace, "name=another", key="b", looks=1)
    other.write(dataclasses.replace(other.read(), data_hashes={"manifest": "other"}))
    assert with_all_looks(run).test_looks == 1

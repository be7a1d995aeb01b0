"""Runs are found by key, label or MLflow id, in whatever experiment they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from conical.core.errors import DataError
from conical.runs.finding import experiment_of, find_run, one_finished_run, runs_named, scorable_runs
from conical.runs.report.builder import report_on
from conical.store import RunFolder, Workspace
from unit.runs.stored_runs import evaluation, experiment, write_run, write_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Experiment `demo` with label `ours` twice; `msrvtt` with `ours` and `theirs`; `other` with `theirs`."""
    workspace = write_workspace(tmp_path)
    runs = {
        "aa11": ("demo", "ours", 0),
        "aa22": ("demo", "ours", 1),
        "bb33": ("msrvtt", "ours", 0),
        "bb44": ("msrvtt", "base", 0),
        "cc55": ("other", "theirs", 0),
        "dd66": ("third", "theirs", 0),
    }
    for key, (name, label, seed) in runs.items():
        settings = experiment(f"name={name}", f"seed={seed}").replace({"label": label})
        run = write_run(workspace, settings, evaluation("test", skill=1, seed=seed), key=key)
        run.write(dataclasses.replace(run.read(), tracking_id=f"ml-{key}"))
    return workspace


def keys(runs: list[RunFolder]) -> list[str]:
    return [run.path.name for run in runs]


def test_the_experiment_asked_for_comes_first(workspace: Workspace) -> None:
    assert keys(runs_named(workspace, "demo", "ours")) == ["aa11", "aa22"]
    assert keys(runs_named(workspace, "msrvtt", "ours")) == ["bb33"]


@pytest.mark.parametrize("name", ["base", "bb44", "bb4", "ml-bb44", "msrvtt/base", "msrvtt/bb44"])
def test_a_run_of_another_experiment_is_found(workspace: Workspace, name: str) -> None:
    (run,) = runs_named(workspace, "demo", name)
    assert (run.path.name, experiment_of(run)) == ("bb44", "msrvtt")
    assert one_finished_run(workspace, "demo", name) == run


def test_keys_with_commas_may_lie_in_several_experiments(workspace: Workspace) -> None:
    assert keys(runs_named(workspace, "demo", "bb33, cc55")) == ["bb33", "cc55"]


def test_a_label_of_several_other_experiments_is_not_guessed(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="2 experiments have runs called 'theirs': choose one of 'other/theirs'"):
        runs_named(workspace, "demo", "theirs")
    assert keys(runs_named(workspace, "demo", "third/theirs")) == ["dd66"]


def test_a_label_with_a_slash_is_a_label(workspace: Workspace) -> None:
    write_run(workspace, experiment("name=demo").replace({"label": "a/b"}), key="ee77")
    assert keys(runs_named(workspace, "demo", "a/b")) == ["ee77"]


@pytest.mark.parametrize("look", [find_run, runs_named, one_finished_run])
def test_what_is_nowhere_names_what_there_is(workspace: Workspace, look: Callable[..., object]) -> None:
    with pytest.raises(DataError, match=r"run 'zz' fits no run of .*: choose one of demo/aa11 \(ours\), demo/aa22"):
        look(workspace, "demo", "zz")


def test_the_beginning_of_several_keys_is_not_guessed(workspace: Workspace) -> None:
    with pytest.raises(DataError, match=r"run 'aa' fits 2 runs of .*: choose one of demo/aa11 \(ours\), demo/aa22 \(o"):
        find_run(workspace, "demo", "aa")
    # elsewhere, too
    with pytest.raises(DataError, match=r"run 'bb' fits 2 runs of .*: choose one of msrvtt/bb33"):
        find_run(workspace, "demo", "bb")


def test_an_empty_workspace_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no run yet, train first"):
        find_run(Workspace.open(tmp_path), "demo", "x")


def test_an_experiment_without_runs_names_those_that_have_some(workspace: Workspace) -> None:
    with pytest.raises(DataError, match=r"'none' has no finished run .* takes another: demo, msrvtt, other, third"):
        scorable_runs(workspace, "none", [])


@pytest.mark.parametrize(("name", "folder"), [("base", "msrvtt"), ("msrvtt", "msrvtt"), ("cc55", "other")])
def test_a_report_is_written_where_its_runs_are(workspace: Workspace, name: str, folder: str) -> None:
    data, place = report_on(workspace, name, "demo")
    assert data.title.startswith(folder)
    assert place.is_relative_to(workspace.experiment(folder))

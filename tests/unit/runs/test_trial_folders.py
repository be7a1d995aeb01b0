"""A run's folder is its own: no trial writes there, and no half-trained trial passes for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conical.config import Experiment
from conical.core.progress import no_report
from conical.on_ray.train import train
from conical.runs.finding import scorable_runs
from conical.runs.identity import identify
from conical.runs.log import open_tracker
from conical.runs.sweep_log import SweepBook
from conical.store import RunFolder, Sweep, Workspace, read_sweep
from unit.runs.scored_runs import small_experiment, write_run, write_workspace

METRIC = "val/raw/t2v/R1"


@pytest.fixture
def experiment(small_clip) -> Experiment:
    return small_experiment(
        small_clip,
        "label=CEO",
        "optim.epochs=2",
        "optim.batch_size=4",
        "tune.space={'loss.tau_tv'={uniform=[1.0, 100.0]}}",
    )


@pytest.fixture
def workspace(experiment: Experiment, tmp_path: Path) -> Workspace:
    return write_workspace(experiment, tmp_path / "workspace")


def checkpoint(folder: Path, weights: bytes) -> Path:
    (folder / "best").mkdir(parents=True, exist_ok=True)
    (folder / "best" / "encoder.safetensors").write_bytes(weights)
    return folder


def sweep(experiment: Experiment, workspace: Workspace, key: str, *trials: tuple[int, bytes]) -> Sweep:
    """Trials of the experiment's own point, each of so many epochs and with these weights."""
    path = workspace.experiment(experiment.name) / "sweeps" / key / "sweep.json"
    tracker = open_tracker(experiment, workspace)
    drawn = {"loss.tau_tv": experiment.loss.tau_tv}
    with SweepBook(experiment, workspace, tracker, path=path, known=None, report=no_report) as book:
        for epochs, weights in trials:
            for epoch in range(epochs + 1):
                book.result(drawn, {"epoch": float(epoch), METRIC: 10.0 + epoch}, [])
            book.end(drawn, checkpoint=checkpoint(workspace.root / "checkpoint", weights))
    found = read_sweep(path)
    assert found is not None
    return found


def folder_of(experiment: Experiment, workspace: Workspace, record: Sweep) -> RunFolder:
    return RunFolder(workspace.experiment(experiment.name) / "runs" / record.best.run_key)


def test_a_sweep_leaves_a_finished_run_of_the_same_settings_alone(experiment: Experiment, workspace: Workspace) -> None:
    run = write_run(experiment, workspace)
    record, weights = run.read(), run.encoder.read_bytes()
    found = sweep(experiment, workspace, "s1", (2, b"trial"))
    assert (run.read(), run.encoder.read_bytes()) == (record, weights)
    assert folder_of(experiment, workspace, found).encoder.read_bytes() == b"trial"
    assert scorable_runs(workspace, experiment.name, []) == [run]


def test_two_sweeps_with_a_trial_in_common_share_no_folder(experiment: Experiment, workspace: Workspace) -> None:
    first = sweep(experiment, workspace, "s1", (2, b"first"))
    second = sweep(experiment, workspace, "s2", (2, b"second"))
    assert folder_of(experiment, workspace, first).encoder.read_bytes() == b"first"
    assert folder_of(experiment, workspace, second).encoder.read_bytes() == b"second"


def test_settings_drawn_twice_keep_what_the_whole_trial_left(experiment: Experiment, workspace: Workspace) -> None:
    found = sweep(experiment, workspace, "s1", (2, b"whole"), (1, b"stopped"))
    (trial,) = found.trials
    assert (trial.status, trial.epochs, found.is_finished) == ("finished", 2, True)
    assert folder_of(experiment, workspace, found).encoder.read_bytes() == b"whole"


def test_training_does_not_take_a_stopped_trial_for_the_run(experiment: Experiment, workspace: Workspace) -> None:
    as_loaded = experiment.replace({"optim.epochs": 0})
    run = write_run(as_loaded, workspace)
    run.write(dataclasses.replace(run.read(), status="stopped"))
    run.encoder.write_bytes(b"half")
    assert train(as_loaded, workspace, open_tracker(as_loaded, workspace)) == run
    assert run.read().status == "finished"
    assert run.encoder.read_bytes() != b"half"


def test_the_metric_that_chooses_the_epoch_is_part_of_the_key(experiment: Experiment, workspace: Workspace) -> None:
    by_text, by_video = (
        identify(experiment.replace({"tune.metric": f"val/raw/{direction}/R1"}), workspace).key
        for direction in ("t2v", "v2t")
    )
    assert by_text != by_video

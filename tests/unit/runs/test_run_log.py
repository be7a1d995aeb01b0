"""The driver's book of a run: whatever it is killed between, the next one goes on without a gap or a double."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conical.config import Experiment, load_experiment
from conical.core.errors import DataError
from conical.metrics import tracked_name
from conical.runs.dependencies import Dependencies, data_source
from conical.runs.identity import RunIdentity
from conical.runs.log import RunLog
from conical.runs.tracked import best_metric
from conical.store import RunFolder, Workspace
from conical.tracking import MlflowTracker
from ingested_stores import write_stores

METRIC = Experiment().select_by
VALUES = (4.0, 9.0, 9.0, 6.0)


class Killed(BaseException):
    """Stands for a kill -9: nothing of ours catches it."""


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> MlflowTracker:
    folder = tmp_path_factory.mktemp("mlflow")
    return MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}", "demo", artifacts=folder / "artifacts")


@pytest.fixture
def identity(tmp_path: Path) -> RunIdentity:
    workspace = Workspace(tmp_path)
    source = data_source(Experiment(), workspace, has_supplements=False)
    key = tmp_path.name
    depends_on = Dependencies(settings={}, data={"code": "c"})
    return RunIdentity(depends_on=depends_on, source=source, folder=RunFolder(tmp_path / "runs" / key))


def report(log: RunLog, *epochs: int) -> None:
    for epoch in epochs:
        steps = [{"step": 2 * epoch + step - 2, "loss": 1.0} for step in range(2)] if epoch else []
        log.epoch({"epoch": float(epoch), METRIC: VALUES[epoch]}, steps)


def check_whole(log: RunLog, tracker: MlflowTracker, identity: RunIdentity, *, last: int) -> None:
    run = log.record.tracking_id
    history = [(point.step, point.value) for point in tracker.client.get_metric_history(run, tracked_name(METRIC))]
    assert history == list(enumerate(VALUES[: last + 1]))
    assert [point.step for point in tracker.client.get_metric_history(run, "step/loss")] == list(range(2 * last))
    assert [row["epoch"] for row in identity.folder.read_curve()] == list(range(last + 1))
    record = identity.folder.read()
    assert (record.val_value, record.best_epoch) == (9.0, 1), "of equals the first"
    filter_string = f"tags.`conical.key` = '{identity.key}'"
    assert len(tracker.client.search_runs([tracker.experiment_id], filter_string=filter_string)) == 1


def test_epochs_reported_again_are_logged_once(identity: RunIdentity, tracker: MlflowTracker) -> None:
    log = RunLog(identity, Experiment(), tracker)
    report(log, 0, 1, 2, 1, 2, 3)
    check_whole(log, tracker, identity, last=3)


@pytest.mark.parametrize(("metric", "best_epoch"), [("R1", 1), ("R5", 1), ("R10", 1), ("MedR", 2), ("MeanR", 2)])
def test_the_best_epoch_has_the_highest_recall_or_the_lowest_rank(
    identity: RunIdentity, tracker: MlflowTracker, metric: str, best_epoch: int
) -> None:
    # the same values as in the loop's own test: the two must agree
    values, name = (3.0, 5.0, 1.0, 5.0, 1.0), f"val/raw/t2v/{metric}"
    log = RunLog(identity, load_experiment(None, [f"select_by={name}"]), tracker)
    for epoch, value in enumerate(values):
        log.epoch({"epoch": float(epoch), name: value}, [])
    record = identity.folder.read()
    assert (record.best_epoch, record.val_value) == (best_epoch, values[best_epoch])


@pytest.mark.parametrize("place", ["write_curve", "write"])
def test_a_driver_killed_between_two_writes_of_an_epoch(
    identity: RunIdentity, tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    log = RunLog(identity, Experiment(), tracker)
    report(log, 0)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, place, kill)
        with pytest.raises(Killed):
            report(log, 1)
    again = RunLog(identity, Experiment(), tracker)
    assert again.record.tracking_id == log.record.tracking_id
    report(again, 1, 2)
    check_whole(again, tracker, identity, last=2)


def test_a_driver_killed_before_it_wrote_down_its_mlflow_run(
    identity: RunIdentity, tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", kill)
        with pytest.raises(Killed):
            RunLog(identity, Experiment(), tracker)
    assert not identity.folder.exists
    log = RunLog(identity, Experiment(), tracker)
    report(log, 0, 1)
    check_whole(log, tracker, identity, last=1)
    log.end("finished")
    filter_string = f"tags.`conical.key` = '{identity.key}'"
    (run,) = tracker.client.search_runs([tracker.experiment_id], filter_string=filter_string)
    assert run.info.status == "FINISHED"


def test_a_run_says_who_made_it_of_what_and_how(identity: RunIdentity, tracker: MlflowTracker) -> None:
    label = "mine *or* `yours` <b>"
    log = RunLog(identity, load_experiment(None, [f"label={label}"]), tracker)
    run = tracker.client.get_run(log.record.tracking_id)
    tags = run.data.tags
    assert all(tags[f"mlflow.{name}"] for name in ("source.name", "source.type", "user", "note.content"))
    assert re.fullmatch(r"[0-9a-f]{40}", tags.get("mlflow.source.git.commit", "0" * 40))
    assert tags["mlflow.note.content"].startswith(f"``{label}`` on `scenes`: trained for ")
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("scenes", "unknown")
    assert [tag.value for tag in entry.tags] == ["train, val, test"]


def test_a_finished_run_tells_its_best_value_once(identity: RunIdentity, tracker: MlflowTracker) -> None:
    log = RunLog(identity, Experiment(), tracker)
    report(log, 0, 1)
    log.end("running")
    log = RunLog(identity, Experiment(), tracker)
    report(log, 2, 3)
    log.end("finished")
    history = tracker.client.get_metric_history(log.record.tracking_id, best_metric(METRIC))
    assert [(point.step, point.value) for point in history] == [(0, 9.0)]
    assert tracker.client.get_run(log.record.tracking_id).data.tags["conical.best_epoch"] == "1"


def test_a_run_can_be_scored_where_its_supplements_are_gone(tmp_path: Path) -> None:
    experiment = load_experiment(None, ["mix={human=0.5, A=0.5, B=0.0}", "frames.num_frames=2"])
    workspace = Workspace(tmp_path)
    write_stores(experiment, workspace, {"train": 2, "val": 2, "test": 2})
    with pytest.raises(DataError, match=r"has no supplements in .*: run caption first"):
        data_source(experiment, workspace)
    source = data_source(experiment, workspace, has_supplements=False)
    assert [record.video_id for record in source.records("test")] == ["test0", "test1"]
    assert source.supplements() == {}

"""What a run tells between two epochs, and after a restart."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from conical.config import Experiment
from conical.core.progress import Activity, Progress, Told
from conical.on_ray import epochs
from conical.on_ray.epochs import StepTeller
from conical.on_ray.train import _pass_on
from conical.on_ray.train_progress import TrainProgress, best_so_far
from conical.store import RunRecord

EXPERIMENT = Experiment().replace({"label": "CEO, human captions", "optim.epochs": 4})
RECORD = RunRecord(
    key="k", label="x", status="running", seed=0, tracking_id="t", config={}, data_hashes={}, environment={}
)


def _row(epoch: int, **more: Any) -> dict[str, Any]:
    return {"row": {"epoch": float(epoch)}, "steps": [], **more}


def _steps(done: int) -> dict[str, int]:
    return {"steps_done": done, "total_steps": 40}


def _told(*messages: dict[str, Any]) -> list[float]:
    told: list[Told] = []
    progress = TrainProgress(EXPERIMENT, told.append)
    for message in messages:
        progress(message, RECORD)
    assert all(isinstance(one, Progress) and one.subject == "CEO, human captions" for one in told)
    return [one.done for one in told if isinstance(one, Progress)]


@pytest.mark.parametrize(
    ("messages", "done"),
    [
        ((_row(0), _steps(1), _steps(5), _row(1)), [0, 0.1, 0.5, 1]),
        # val is not scored yet: the epoch is not done
        ((_row(0), _steps(10), _row(1)), [0, 0.99, 1]),
        # a step that was overtaken by its epoch
        ((_row(0), _row(1), _steps(9), _steps(12)), [0, 1, 1.2]),
        # what a restarted worker repeats from its checkpoint is not told as done now
        ((_row(0, is_earlier=True), _row(1, is_earlier=True), _row(2, is_earlier=True), _steps(21)), [2.1]),
    ],
)
def test_epochs_hold_what_is_done_of_the_current_one(messages: tuple[dict[str, Any], ...], done: list[float]) -> None:
    assert _told(*messages) == pytest.approx(done)


def test_a_finished_run_says_that_it_was_there_and_zero_shot_has_no_epochs() -> None:
    told: list[Told] = []
    TrainProgress(EXPERIMENT, told.append).was_there(RECORD)
    TrainProgress(EXPERIMENT.replace({"optim.epochs": 0}), told.append).was_there(RECORD)
    TrainProgress(EXPERIMENT, told.append).doing("starting workers")
    first, second = told
    assert isinstance(first, Progress)
    assert (first.done, first.total) == (4, 4)
    assert second == Activity(stage="train", subject="CEO, human captions", doing="starting workers")


@pytest.mark.parametrize(
    ("value", "epoch", "is_trained", "words"),
    [
        (None, 0, False, ""),
        (20.04, 0, False, "untrained val t2v R@1 20.0"),
        (20.04, 0, True, "no epoch better than untrained, val t2v R@1 20.0"),
        (24.0, 3, True, "best val t2v R@1 24.0 at epoch 3"),
    ],
)
def test_the_best_value_so_far_in_words(value: float | None, epoch: int, is_trained: bool, words: str) -> None:
    record = dataclasses.replace(RECORD, val_value=value, best_epoch=epoch)
    assert best_so_far(record, "val/raw/t2v/R1", is_trained=is_trained) == words


def test_each_epoch_is_logged_once_and_in_order_whatever_the_mailbox_lost() -> None:
    class Log:
        record = RECORD
        num_epochs = 0

        def epoch(self, row: dict[str, float], steps: object) -> None:
            assert row["epoch"] == self.num_epochs
            self.num_epochs += 1

    log, told = Log(), list[Told]()
    progress = TrainProgress(EXPERIMENT, told.append)
    # 2 was lost with a mailbox; 0 and 1 come again from a restarted worker, all of them from the last checkpoint
    for epoch in (0, 1, 0, 1, 3, 0, 1, 2, 3):
        _pass_on({**_row(epoch), "number": epoch}, log, progress)  # type: ignore[arg-type]
    assert log.num_epochs == 4
    assert [one.done for one in told if isinstance(one, Progress)] == [0, 1, 3, 2, 3]


@pytest.mark.parametrize(("metric", "words"), [("R1", "val t2v R@1 24.0"), ("MeanR", "val t2v MeanR 24.0")])
def test_progress_names_the_metric_that_selects(metric: str, words: str) -> None:
    record = dataclasses.replace(RECORD, val_value=24.0, best_epoch=1)
    assert best_so_far(record, f"val/raw/t2v/{metric}", is_trained=True) == f"best {words} at epoch 1"


def test_steps_are_told_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, put = [100.0], []
    monkeypatch.setattr(epochs.time, "monotonic", lambda: clock[0])
    tell = StepTeller(put.append, drawn={"loss.tau_tv": 3.0})
    for number in range(1, 25):
        clock[0] = 100 + number / 10
        tell(number, 40)
    assert [message["steps_done"] for message in put] == [1, 11, 21]
    assert put[0] == {"drawn": {"loss.tau_tv": 3.0}, "steps_done": 1, "total_steps": 40}

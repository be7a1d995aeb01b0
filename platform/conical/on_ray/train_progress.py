"""What a training run tells while it runs: epochs with what is done of the current one."""

from __future__ import annotations

from typing import Any

from conical.config import Experiment
from conical.core.progress import Activity, Notice, Progress, Report
from conical.metrics import readable
from conical.store import RunRecord

_STAGE = "train"


class TrainProgress:
    """Turns the messages of rank 0 into progress.

    Args:
        experiment: names the method.
        report: told.
    """

    def __init__(self, experiment: Experiment, report: Report) -> None:
        self._experiment = experiment
        self._report = report
        self._epochs_done = 0.0

    def doing(self, what: str) -> None:
        """Something that cannot be counted begins."""
        self._report(Activity(stage=_STAGE, subject=self._experiment.title, doing=what))

    def was_there(self, record: RunRecord) -> None:
        """The run was finished by an earlier call; one without an epoch is scored only, and has nothing to tell."""
        if self._experiment.optim.epochs > 0:
            self._tell(self._experiment.optim.epochs, record)

    def __call__(self, message: dict[str, Any], record: RunRecord) -> None:
        """A message of rank 0: an epoch's `row`, `steps_done` of `total_steps`, what it is `doing`, or a
                `warning`.

        Args:
            record: of the run, with the message's epoch.
        """
        if "warning" in message:
            self._report(Notice(stage=_STAGE, subject=self._experiment.title, text=message["warning"]))
            return
        if "doing" in message:
            self.doing(message["doing"])
            return
        if "row" in message:
            self._epochs_done = float(message["row"]["epoch"])
            if not message.get("is_earlier"):
                self._tell(self._epochs_done, record)
            return
        epochs = self._experiment.optim.epochs * message["steps_done"] / message["total_steps"]
        # an epoch is done when val was scored; a message that was overtaken tells nothing new
        if epochs > self._epochs_done:
            self._tell(min(epochs, self._epochs_done + 0.99), record)

    def _tell(self, done: float, record: RunRecord) -> None:
        experiment = self._experiment
        self._report(
            Progress(
                stage=_STAGE,
                subject=experiment.title,
                done=done,
                total=experiment.optim.epochs,
                unit="epochs",
                note=best_so_far(record, experiment.select_by, is_trained=done >= 1),
            )
        )


def best_so_far(record: RunRecord, metric: str, *, is_trained: bool) -> str:
    """The value that chooses the epoch, in a few words; "" before the first."""
    if record.val_value is None:
        return ""
    value = f"{readable(metric)} {record.val_value:.1f}"
    if record.best_epoch:
        return f"best {value} at epoch {record.best_epoch:g}"
    return f"no epoch better than untrained, {value}" if is_trained else f"untrained {value}"

"""The driver's book of one run: its folder, its MLflow run, its curve."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from conical.config import Experiment
from conical.metrics import merit, tracked_name
from conical.runs.identity import RunIdentity
from conical.runs.provenance import environment
from conical.runs.tracked import about_run, best_metric, dataset_of, describe_run, epoch_metrics, step_metrics
from conical.store import RunRecord, Workspace
from conical.tracking import MlflowTracker


def open_tracker(experiment: Experiment, workspace: Workspace) -> MlflowTracker:
    """The configured MLflow server, or SQLite in the workspace."""
    uri = experiment.tracking.uri or workspace.tracking_uri
    return MlflowTracker(uri, experiment.name, artifacts=workspace.artifacts)


class RunLog:
    """Writes what ranks report; an interrupted run goes on in the same folder and the same MLflow run.

    Args:
        parent: MLflow run of the sweep it belongs to.
    """

    def __init__(
        self,
        identity: RunIdentity,
        experiment: Experiment,
        tracker: MlflowTracker,
        *,
        parent: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        self.folder = identity.folder
        self.tracker = tracker
        self._metric = experiment.select_by
        self._optim = experiment.optim
        self._started = time.monotonic()
        previous = self.folder.read() if self.folder.exists else None
        self._earlier_seconds = previous.seconds if previous else 0.0
        if previous and tracker.has(previous.tracking_id):
            self.record = dataclasses.replace(previous, status="running")
            tracker.tag(previous.tracking_id, {"conical.resumed": "true"})
            tracker.finish(previous.tracking_id, status="RUNNING")
        else:
            run_id = tracker.find_running(identity.key) or tracker.start(
                experiment.title,
                params=experiment.params(),
                tags={
                    "conical.key": identity.key,
                    **about_run(experiment, description=describe_run(experiment, key=identity.key)),
                    **{f"conical.hash.{name}": value for name, value in identity.depends_on.data.items()},
                    **experiment.tracking.tags,
                    **(tags or {}),
                },
                parent=parent,
                dataset=dataset_of(experiment, identity.depends_on.data),
            )
            self.record = RunRecord(
                key=identity.key,
                label=experiment.title,
                status="running",
                seed=experiment.seed,
                tracking_id=run_id,
                config=experiment.to_dict(),
                data_hashes=dict(identity.depends_on.data),
                environment=environment(),
                supplements=identity.source.supplement_counts if experiment.optim.epochs else (),
            )
            if note := self.record.supplements_note:
                tracker.tag(run_id, {"conical.supplements": note})
        self._curve = self.folder.read_curve() if previous else []
        self._last_tracked = tracker.last_step(self.record.tracking_id, tracked_name(self._metric)) if previous else -1
        self._update()
        (self.folder.path / "config.toml").write_text(experiment.to_toml(), encoding="utf-8")

    @property
    def last_epoch(self) -> float:
        """Last epoch that was logged; -1 before any."""
        return float(self._curve[-1]["epoch"]) if self._curve else -1.0

    @property
    def num_epochs(self) -> int:
        """Scorings of val that were logged, that of the model as it was loaded among them."""
        return len(self._curve)

    @property
    def is_whole(self) -> bool:
        """Whether training came to its own end: all epochs, or patience lost."""
        if not self._curve or self.last_epoch >= self._optim.epochs:
            return bool(self._curve)
        best = max(range(len(self._curve)), key=lambda number: merit(self._metric, self._curve[number][self._metric]))
        return 0 < self._optim.patience <= self.num_epochs - 1 - best

    def epoch(self, row: dict[str, float], steps: list[dict[str, float]]) -> None:
        """Log a scoring of val once: a restarted worker reports those after its checkpoint again."""
        if row["epoch"] <= self.last_epoch:
            return
        # MLflow first: when this process dies between the two, the epoch is reported again, and known to be there
        if self.num_epochs > self._last_tracked:
            self._track(row, steps)
        self._curve.append(row)
        self.folder.write_curve(self._curve)
        self._update()

    def _track(self, row: dict[str, float], steps: list[dict[str, float]]) -> None:
        by_step = [(int(step["step"]), step_metrics(step)) for step in steps]
        # MLflow counts in whole numbers: this one is the epoch's, unless `optim.eval_steps` says otherwise
        by_epoch = (self.num_epochs, epoch_metrics(row, select_by=self._metric))
        self.tracker.log(self.record.tracking_id, [*by_step, by_epoch])

    def end(self, status: str) -> None:
        """Close the run in both books; status as in `conical.store.runs.STATUSES`."""
        self._update(status=status)
        if status in ("finished", "stopped") and self.record.val_value is not None:
            best = {best_metric(self._metric): self.record.val_value}
            # a final value is no point of a curve: at step 0 MLflow draws bars
            self.tracker.log(self.record.tracking_id, [(0, best)])
            self.tracker.tag(self.record.tracking_id, {"conical.best_epoch": f"{self.record.best_epoch:g}"})
        self.tracker.log_files(self.record.tracking_id, self.folder.path, under="run")
        tracked = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "running": "KILLED"}[status]
        self.tracker.tag(self.record.tracking_id, {"conical.status": status})
        self.tracker.finish(self.record.tracking_id, status=tracked)

    def _update(self, **changes: Any) -> None:
        """Write the record; the best epoch is read off the curve, so that the two never disagree."""
        if self._curve:
            best = max(self._curve, key=lambda row: merit(self._metric, row[self._metric]))
            changes |= {"val_value": best[self._metric], "best_epoch": best["epoch"]}
        seconds = self._earlier_seconds + time.monotonic() - self._started
        self.record = dataclasses.replace(self.record, seconds=seconds, **changes)
        self.folder.write(self.record)

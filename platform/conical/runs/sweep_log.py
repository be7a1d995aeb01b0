"""The driver's book of a sweep: `sweep.json`, the parent run in MLflow, a `RunLog` a trial."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from conical.config import Experiment
from conical.config.nested import flatten
from conical.core.hashing import stable_hash
from conical.core.progress import Progress, Report
from conical.metrics import merit, readable
from conical.runs.equal_trials import mark_indistinguishable
from conical.runs.identity import identify
from conical.runs.log import RunLog
from conical.runs.search_space import to_settings
from conical.runs.tracked import about_run, best_metric
from conical.store import RunFolder, Sweep, Trial, Workspace, write_sweep
from conical.store.runs import BEST
from conical.tracking import MlflowTracker

# Tune pickles its callbacks into the sweep's state; a database connection cannot go that way. So the callback holds
# nothing and forwards to the book that this process has open.
_open_books: list[SweepBook] = []


class SweepBook:
    """Open while Tune runs (`with`); goes on where an interrupted sweep stopped.

    Args:
        experiment: settings and search space.
        path: of `sweep.json`.
        known: what an earlier, interrupted call wrote there.
        report: told after each epoch of a trial.
    """

    def __init__(
        self,
        experiment: Experiment,
        workspace: Workspace,
        tracker: MlflowTracker,
        *,
        path: Path,
        known: Sweep | None,
        report: Report,
    ) -> None:
        self._experiment = experiment
        self._workspace = workspace
        self._tracker = tracker
        self._path = path
        self._report = report
        self._keys: dict[str, str] = {}
        self._logs: dict[str, RunLog] = {}
        self._trials = {trial.run_key: trial for trial in known.trials} if known else {}
        self._known_id = known.tracking_id if known else None

    def __enter__(self) -> SweepBook:
        if self._known_id and self._tracker.has(self._known_id):
            self._tracking_id = self._known_id
            self._tracker.finish(self._tracking_id, status="RUNNING")
        else:
            key = self._path.parent.name
            self._tracking_id = self._tracker.find_running(key) or self._tracker.start(
                f"sweep: {self._experiment.title}",
                params=self._experiment.params(),
                tags={"conical.key": key, "conical.sweep": key, **self._about()},
            )
        self._write()
        self._announce()
        _open_books.append(self)
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """No run is left running: what has not ended was interrupted and goes on when the sweep does."""
        _open_books.remove(self)
        for log in self._logs.values():
            if log.record.status == "running":
                log.end("running")
        # half a sweep must never pass for a whole one, even if Tune returned as if nothing were wrong
        has_all_ended = all(trial.status != "running" for trial in self._trials.values())
        record = self._record(is_finished=error_type is None and has_all_ended)
        if record.is_finished:
            record = mark_indistinguishable(record, self._workspace.experiment(self._experiment.name) / "runs")
        write_sweep(self._path, record)
        if record.is_finished:
            self._tracker.log(self._tracking_id, [(0, {best_metric(record.metric): record.best.value or 0.0})])
            equal = "" if record.indistinguishable is None else str(len(record.indistinguishable))
            tags = {"conical.best_run": record.best.run_key, "conical.indistinguishable": equal}
            self._tracker.tag(self._tracking_id, tags)
        self._tracker.finish(self._tracking_id, status="FINISHED" if record.is_finished else "KILLED")

    def _about(self) -> dict[str, str]:
        text = f"Sweep of {self._experiment.tune.num_trials} trials; the best is chosen by "
        return about_run(self._experiment, description=f"{text}{readable(self._experiment.select_by)}.")

    def start(self, drawn: dict[str, Any]) -> None:
        """A trial was launched."""
        self._log_of(drawn)

    def result(self, drawn: dict[str, Any], row: dict[str, float], steps: list[dict[str, float]]) -> None:
        """A trial reported an epoch."""
        log = self._log_of(drawn)
        log.epoch(row, steps)
        self._note(log, value=log.record.val_value, epochs=log.last_epoch, status="running")

    def end(self, drawn: dict[str, Any], *, checkpoint: Path | None) -> None:
        """A trial ended: well with a checkpoint, badly without."""
        log = self._log_of(drawn)
        status = "failed"
        if log.record.status == "finished":
            # the searcher drew the same settings twice: what a whole trial left is not replaced by a shorter one's
            status = "finished"
        elif checkpoint is not None:
            best = RunFolder(checkpoint / BEST)
            if best.val_ranking.is_file():
                shutil.copyfile(best.val_ranking, log.folder.val_ranking)
            log.folder.take_encoder(best)
            status = "finished" if log.last_epoch >= self._experiment.optim.epochs else "stopped"
        if log.record.status != "finished":
            log.end(status)
        self._note(log, status=status)
        self._write()

    def _note(self, log: RunLog, **changes: Any) -> None:
        self._trials[log.record.key] = dataclasses.replace(self._trials[log.record.key], **changes)
        self._announce()

    def _announce(self) -> None:
        options = self._experiment.tune
        trials = self._trials.values()
        ended = [trial for trial in trials if trial.status != "running"]
        # an ended trial counts as whole: the scheduler skips the rest of it
        epochs = self._experiment.optim.epochs * len(ended) + sum(t.epochs for t in trials if t.status == "running")
        metric = self._experiment.select_by
        values = [trial.value for trial in trials if trial.value is not None]
        best = max(values, key=lambda value: merit(metric, value), default=None)
        note = f"{len(ended)} of {options.num_trials} trials"
        note += "" if best is None else f", best {readable(metric)} {best:.1f}"
        total = options.num_trials * self._experiment.optim.epochs
        self._report(Progress(stage="tune", done=epochs, total=total, unit="epochs", note=note))

    def _log_of(self, drawn: dict[str, Any]) -> RunLog:
        draw = stable_hash(drawn)
        if draw not in self._keys:
            self._keys[draw] = self._open_log(to_settings(drawn, self._experiment.tune.space))
        return self._logs[self._keys[draw]]

    def _open_log(self, settings: dict[str, Any]) -> str:
        experiment = self._experiment.replace(settings)
        identity = identify(experiment, self._workspace, sweep=self._path.parent.name)
        known = self._trials.get(identity.key)
        number = known.number if known else len(self._trials)
        self._logs[identity.key] = RunLog(
            identity,
            experiment.replace({"label": f"trial {number}"}),
            self._tracker,
            parent=self._tracking_id,
            tags={"conical.sweep": self._path.parent.name},
        )
        self._trials[identity.key] = known or Trial(
            number=number, run_key=identity.key, settings=flatten(settings), value=None, status="running", epochs=0
        )
        self._write()
        return identity.key

    def _record(self, *, is_finished: bool) -> Sweep:
        return Sweep(
            key=self._path.parent.name,
            metric=self._experiment.select_by,
            tracking_id=self._tracking_id,
            is_finished=is_finished,
            trials=tuple(sorted(self._trials.values(), key=lambda trial: trial.number)),
        )

    def _write(self) -> None:
        """Write where the sweep stands; `__exit__` alone may call it finished."""
        write_sweep(self._path, self._record(is_finished=False))


def open_book() -> SweepBook:
    """The book of the sweep that runs in this process."""
    assert _open_books
    return _open_books[-1]

"""The driver's book of a sweep: `sweep.json`, the parent run in MLflow, a `RunLog` a trial."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conical.config import Experiment
from conical.config.nested import flatten
from conical.core.hashing import stable_hash
from conical.core.progress import Notice, Progress, Report
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
_SECONDS_BETWEEN_POLLS = 1.0


class SweepBook:
    """Open while Tune runs (`with`); goes on where an interrupted sweep stopped.

    Args:
        experiment: settings and search space.
        path: of `sweep.json`.
        known: what an earlier, interrupted call wrote there.
        report: told after each epoch of a trial.
        take_steps: gives what trials said of their steps since the last call, as `StepTeller` puts it with `drawn`.
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
        take_steps: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        self._experiment = experiment
        self._workspace = workspace
        self._tracker = tracker
        self._path = path
        self._report = report
        self._take_steps = take_steps
        self._epochs_by_steps: dict[str, float] = {}
        self._polled = 0.0
        self._is_warned = False
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
            self._announce(is_over=True)
            self._tracker.log(self._tracking_id, [(0, {best_metric(record.metric): record.best.value or 0.0})])
            equal = "" if record.indistinguishable is None else str(len(record.indistinguishable))
            tags = {"conical.best_run": record.best.run_key, "conical.indistinguishable": equal}
            self._tracker.tag(self._tracking_id, tags)
        self._tracker.finish(self._tracking_id, status="FINISHED" if record.is_finished else "KILLED")

    def _about(self) -> dict[str, str]:
        text = f"Sweep of {self._experiment.tune.num_trials} trials; the best is chosen by "
        return about_run(self._experiment, description=f"{text}{readable(self._experiment.select_by)}.")

    def start(self, drawn: dict[str, Any], *, number: int) -> None:
        """A trial was launched.

        Args:
            drawn: what the searcher drew.
            number: place among all draws, from 0; of equal draws the first one's stays.
        """
        draw = stable_hash(drawn)
        if draw not in self._keys:
            self._keys[draw] = self._open_log(to_settings(drawn, self._experiment.tune.space), number=number)

    def poll(self) -> None:
        """See how far the trials are inside their epochs."""
        now = time.monotonic()
        if now - self._polled < _SECONDS_BETWEEN_POLLS:
            return
        self._polled = now
        messages = self._take_steps()
        for message in messages:
            if "warning" in message:
                if not self._is_warned:  # every trial finds the same
                    self._report(Notice(stage="tune", text=message["warning"]))
                self._is_warned = True
                continue
            key = self._keys.get(stable_hash(message["drawn"]))
            if key is not None and self._trials[key].status == "running":
                epochs = self._experiment.optim.epochs * message["steps_done"] / message["total_steps"]
                self._epochs_by_steps[key] = epochs
        if messages:
            self._announce()

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
            status = "finished" if log.is_whole else "stopped"
        if log.record.status != "finished":
            log.end(status)
        self._note(log, status=status)
        self._write()

    def _note(self, log: RunLog, **changes: Any) -> None:
        self._trials[log.record.key] = dataclasses.replace(self._trials[log.record.key], **changes)
        self._announce()

    def _announce(self, *, is_over: bool = False) -> None:
        options = self._experiment.tune
        trials = self._trials.values()
        ended = [trial for trial in trials if trial.status != "running"]
        per_trial = self._experiment.optim.epochs
        # what the scheduler skips of a trial, or of one that is drawn twice, is not work: it leaves the total
        num_planned = 0 if is_over else max(0, options.num_trials - len(ended))
        total = sum(trial.epochs for trial in ended) + per_trial * num_planned
        # whole only once the last trial has ended: what is done leaves its last line behind
        epochs = min(sum(self._epochs_of(trial) for trial in trials), total if num_planned == 0 else total - 0.01)
        metric = self._experiment.select_by
        values = [trial.value for trial in trials if trial.value is not None]
        best = max(values, key=lambda value: merit(metric, value), default=None)
        note = f"{len(ended)} of {options.num_trials} trials"
        note += "" if best is None else f", best {readable(metric)} {best:.1f}"
        self._report(Progress(stage="tune", done=epochs, total=total, unit="epochs", note=note))

    def _epochs_of(self, trial: Trial) -> float:
        """With the part of the current epoch; an epoch is done when val was scored."""
        if trial.status != "running":
            return trial.epochs
        return min(max(self._epochs_by_steps.get(trial.run_key, 0.0), trial.epochs), trial.epochs + 0.99)

    def _log_of(self, drawn: dict[str, Any]) -> RunLog:
        return self._logs[self._keys[stable_hash(drawn)]]

    def _open_log(self, settings: dict[str, Any], *, number: int) -> str:
        experiment = self._experiment.replace(settings)
        identity = identify(experiment, self._workspace, sweep=self._path.parent.name)
        known = self._trials.get(identity.key)
        number = known.number if known else number
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

"""One live line per stage, with ETA; plain lines where the output is not a terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from conical.core.progress import Progress as Step

_SECONDS_BETWEEN_LINES = 15.0


class ProgressLine:
    """Draws what stages report (`with`); a stage that ends leaves one line behind."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]} {task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._stage = ""
        self._task: TaskID | None = None
        self._first = 0.0
        self._last: Step | None = None
        self._started = self._printed = self._told = 0.0

    def __enter__(self) -> ProgressLine:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage()
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, step: Step) -> None:
        """Show where a stage stands."""
        is_new = step.stage != self._stage or (self._last is not None and step.done < self._last.done)
        if is_new:
            self._end_stage()
            self._stage, self._started, self._printed = step.stage, time.monotonic(), time.monotonic()
            # what an earlier run has done took this one no time
            self._first = 0.0 if step.done >= step.total else step.done
        self._last, self._told = step, time.monotonic()
        if self._console.is_terminal:
            self._draw(step, is_new=is_new)
        elif time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            self._print(step)

    def _draw(self, step: Step, *, is_new: bool) -> None:
        if is_new or self._task is None:
            self._task = self._bar.add_task(step.stage, total=step.total, unit=step.unit, rate="", note=step.note)
        self._bar.update(self._task, completed=step.done, total=step.total, rate=self._rate(step), note=step.note)

    def _rate(self, step: Step) -> str:
        """Units per second since the stage began here; "" for what takes many seconds per unit."""
        seconds = self._told - self._started
        rate = (step.done - self._first) / seconds if seconds > 0 else 0.0
        return f"({rate:,.{1 if rate < 100 else 0}f}/s)" if rate >= 0.1 else ""

    def _end_stage(self) -> None:
        if self._last is not None and not self._console.is_terminal:
            self._print(self._last)
        self._last, self._task = None, None

    def _print(self, step: Step) -> None:
        seconds = self._told - self._started  # not until now: between two stages other things are done
        new = step.done - self._first
        left = f", {seconds / new * (step.total - step.done):.0f} s left" if new > 0 and step.done < step.total else ""
        rate, note = self._rate(step), f", {step.note}" if step.note else ""
        self._console.print(
            f"{step.stage:<15} {step.done:g} of {step.total:g} {step.unit} in {seconds:.0f} s{rate and ' ' + rate}"
            f"{left}{note}",
            highlight=False,
        )

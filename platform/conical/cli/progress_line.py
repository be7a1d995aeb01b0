"""What stages tell, on a terminal as one live line, elsewhere as plain lines; a stage that ends leaves one line behind.

step 7 of 9: train CEO with supplements                    a chain's step
  caption frames  702 videos in 18 s, 2 failed             a stage that has ended
  train           CEO, human captions: val t2v R@1 23.8    the stage that runs: its subject and latest result,
                  ━━━━━━╸━━━━━━━━━ 2.4 of 5 epochs, ...    how far it is, its speed, the time left
  train           CEO, human captions: starting Ray, 7 s   in place of both while nothing can be counted
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from conical.cli.pace import Pace
from conical.core.progress import Activity, Notice, Progress, Step, Told

_STAGE_WIDTH = 16
_MIN_BAR, _MAX_BAR = 6, 24
_LEAST_BAR_BESIDE_A_NOTE = 16
# between two plain lines of a stage: as often as this share of the time it has taken, within these bounds
_SECONDS_BETWEEN_LINES = (15.0, 300.0)
_SHARE_BETWEEN_LINES = 0.1


@dataclass
class _Stage:
    """The stage that is under way."""

    latest: Progress
    started: float
    pace: Pace
    told: float
    printed: float
    before: float = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.latest.done

    def is_of(self, step: Progress) -> bool:
        same = (step.stage, step.subject) == (self.latest.stage, self.latest.subject)
        return same and step.done >= self.latest.done


class ProgressLine:
    """Draws what stages tell (`with`)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # variables such as FORCE_COLOR make a pipe pass for a terminal, and it would get carriage returns
        self._is_live = console.is_interactive and console.file.isatty()
        self._stage: _Stage | None = None
        self._ended: Progress | None = None
        self._activity: Activity | None = None
        self._began = time.monotonic()
        self._indent = ""
        self._noticed: set[Notice] = set()
        self._live = Live(
            console=console, get_renderable=self.drawn, refresh_per_second=4, transient=True, vertical_overflow="crop"
        )

    def __enter__(self) -> ProgressLine:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage()
        self._activity = None
        if self._is_live:
            self._live.stop()

    def __call__(self, told: Told) -> None:
        """Show it."""
        if isinstance(told, Progress):
            self._count(told)
        elif isinstance(told, Activity):
            self._begin(told)
        elif isinstance(told, Notice):
            if told not in self._noticed:  # a worker that was restarted says it again
                self._noticed.add(told)
                self._print(told.stage, told.subject, f"warning: {told.text}")
        else:
            self._end_stage()
            self._activity, self._indent, self._began = None, "  ", time.monotonic()
            self._console.print(_head(told), style="bold" if self._is_live else "", highlight=False, markup=False)

    def _begin(self, activity: Activity) -> None:
        if activity == self._activity:
            return
        same_stage = self._activity is not None and (self._activity.stage, self._activity.subject) == (
            activity.stage,
            activity.subject,
        )
        if not same_stage and self._stage is None:
            self._began = time.monotonic()
        self._activity = activity
        if not self._is_live:
            self._print(activity.stage, activity.subject, activity.doing)

    def _count(self, step: Progress) -> None:
        now = time.monotonic()
        if step == self._ended:
            return
        if self._stage is None or not self._stage.is_of(step):
            self._end_stage()
            # a start-up belongs to the stage it is the start of
            is_started = self._activity is not None and self._activity.stage == step.stage
            started = self._began if is_started else now
            self._stage = _Stage(step, started=started, pace=Pace(now, step.done), told=now, printed=now)
        stage = self._stage
        self._activity, self._ended = None, None
        stage.latest, stage.told = step, now
        stage.pace.add(now, step.done)
        if step.done >= step.total:
            self._end_stage()
            return
        shortest, longest = _SECONDS_BETWEEN_LINES
        pause = min(longest, max(shortest, _SHARE_BETWEEN_LINES * (now - stage.started)))
        if not self._is_live and now - stage.printed >= pause:
            stage.printed = now
            self._print(step.stage, step.subject, _joined(f"{_counts(step)} in {duration(now - stage.started)}", stage))

    def _end_stage(self) -> None:
        """Leave one line behind."""
        if self._stage is None:
            return
        stage, step = self._stage, self._stage.latest
        self._stage, self._ended, self._began = None, step, time.monotonic()
        if step.done < step.total and stage.pace.done_here == 0:
            return  # it ended before anything was done: what ended it is told elsewhere
        if step.done < step.total:
            text = f"{_counts(step)} in {duration(stage.told - stage.started)}"
        elif stage.pace.done_here > 0:
            text = f"{_number(step.total)} {step.unit} in {duration(stage.told - stage.started)}"
            text += f", {_number(stage.before)} were there" if stage.before else ""
        else:
            text = f"{_number(step.total)} {step.unit}, all there before"
        text += f", {step.note}" if step.note else ""
        self._print(step.stage, step.subject, text + (f" ({step.advice})" if step.advice else ""))

    def _print(self, stage: str, subject: str, text: str) -> None:
        head = f"{self._indent}{stage:<{_STAGE_WIDTH}}"
        body = Text(f"{subject}: {text}" if subject else text)
        # a log is searched line by line; on a terminal lines break between words
        lines = body.wrap(self._console, self._console.width - len(head)) if self._is_live else [body]
        for number, line in enumerate(lines):
            start = head if number == 0 else " " * len(head)
            self._console.print(Text(start + line.plain.rstrip()), highlight=False, soft_wrap=True)

    def drawn(self) -> Text:
        """The live lines; each is cut to the width, since a broken line would be drawn twice."""
        now, width = time.monotonic(), self._console.width - 1
        head = f"{self._indent}{{:<{_STAGE_WIDTH}}}"
        if self._activity is not None or self._stage is None:
            activity = self._activity or Activity(stage="", doing="working")
            subject = f"{activity.subject}: " if activity.subject else ""
            waited = f" ... {duration(now - (self._stage.told if self._stage else self._began))}"
            what = Text(f"{head.format(activity.stage)}{subject}{activity.doing}")
            # the clock stays in sight: it shows that time passes
            what.truncate(width - len(waited), overflow="ellipsis")
            return what + Text(waited)
        lines = _drawn_stage(self._stage, now, head, width)
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Text("\n").join(lines)


def _drawn_stage(stage: _Stage, now: float, head: str, width: int) -> list[Text]:
    """One line; two where there is more to tell than fits."""
    step, start = stage.latest, head.format(stage.latest.stage)
    told = ": ".join(filter(None, (step.subject, step.note)))
    left = stage.pace.seconds_left(now, step.total)
    counts = _joined(_counts(step), stage, now=now, has_note=False)
    # where the end cannot be told, the clock shows that time passes
    counts += f", {duration(now - stage.started)} so far" if left is None else ""
    above: list[Text] = []
    if cell_len(start) + _LEAST_BAR_BESIDE_A_NOTE + cell_len(f" {counts}, {told}") <= width and not step.subject:
        counts += f", {told}" if told else ""
    elif told:
        above, start = [Text(f"{start}{told}")], head.format("")
    cells = max(_MIN_BAR, min(_MAX_BAR, width - cell_len(start) - cell_len(counts) - 1))
    filled = int(cells * min(1.0, step.done / step.total))
    bar = Text.assemble(start, ("━" * filled, "green"), ("━" * (cells - filled), "bright_black"), f" {counts}")
    return [*above, bar]


def _joined(text: str, stage: _Stage, *, now: float | None = None, has_note: bool = True) -> str:
    """With speed, time left and note, as far as they are known."""
    step, rate = stage.latest, stage.pace.per_second()
    parts = [text]
    # slow things are told by the time left
    if rate is not None and rate >= 1:
        parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
    left = stage.pace.seconds_left(stage.told if now is None else now, step.total)
    if left is not None:
        parts.append(f"{duration(left)} left")
    if step.note and has_note:
        parts.append(step.note)
    return ", ".join(parts)


def _head(step: Step) -> str:
    return f"step {step.number} of {step.total}: {step.title}"


def _counts(step: Progress) -> str:
    return f"{_number(step.done)} of {_number(step.total)} {step.unit}"


def _number(value: float) -> str:
    """Whole numbers as such, others with one decimal, never rounded up: nothing is done before it is."""
    return f"{value:,.0f}" if value == int(value) else f"{int(value * 10) / 10:,.1f}"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(7.6), duration(95), duration(7400)
    ('8 s', '1 min 35 s', '2 h 03 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"

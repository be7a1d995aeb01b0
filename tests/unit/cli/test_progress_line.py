"""What a newcomer sees while stages run: on a terminal and in a log."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from conical.cli import progress_line
from conical.cli.progress_line import ProgressLine, duration
from conical.core.progress import Activity, Progress, Step

TRAIN = {"stage": "train", "subject": "CEO, human captions + supplements", "unit": "epochs", "total": 5}


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    return now


def _terminal(width: int = 80) -> Console:
    return Console(file=_Screen(), force_terminal=True, color_system=None, width=width)


def _log() -> Console:
    return Console(file=io.StringIO(), soft_wrap=True)


def _lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_log_gets_plain_lines_with_the_step_the_method_and_what_is_being_done(clock: list[float]) -> None:
    console = _log()
    with ProgressLine(console) as line:
        line(Step(number=7, total=9, title="fine-tune it"))
        line(Activity(stage="train", subject=TRAIN["subject"], doing="starting workers"))
        clock[0] = 20
        for seconds, done in ((20, 0), (30, 0.5), (40, 1), (50, 1.5), (60, 2.54), (90, 5)):
            clock[0] = seconds
            line(Progress(**TRAIN, done=done, note=f"val R@1 {20 + done:.0f}"))  # type: ignore[arg-type]
    name = "  train           CEO, human captions + supplements: "
    assert _lines(console) == [
        "step 7 of 9: fine-tune it",
        f"{name}starting workers",
        f"{name}1 of 5 epochs in 40 s, 1 min 20 s left, val R@1 21",
        f"{name}2.5 of 5 epochs in 1 min 00 s, 36 s left, val R@1 23",
        f"{name}5 epochs in 1 min 30 s, val R@1 25",
    ]


def test_a_log_of_hours_gets_a_line_now_and_then(clock: list[float]) -> None:
    console = _log()
    with ProgressLine(console) as line:
        for second in range(36_001):
            clock[0] = second
            line(Progress(stage="caption", done=second, total=36_000, unit="captions"))
    assert 100 < len(_lines(console)) < 200


def test_what_is_piped_never_gets_a_carriage_return_or_a_control_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1")
    console = Console(file=io.StringIO(), soft_wrap=True)
    with ProgressLine(console) as line:
        for done in range(4):
            line(Progress(stage="ingest", done=done, total=3, unit="videos"))
    assert not {"\r", "\x1b"} & set("".join(_lines(console)).replace("\x1b[0m", ""))
    assert len(_lines(console)) == 1


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        ((0, 3), "ingest          3 videos in 8 s"),
        ((1, 3), "ingest          3 videos in 8 s, 1 were there"),
        ((3, 3), "ingest          3 videos, all there before"),
        ((1, 2), "ingest          2 of 3 videos in 8 s"),  # interrupted
    ],
)
def test_a_stage_leaves_one_line_behind_however_often_its_end_is_told(
    clock: list[float], steps: tuple[int, int], last: str
) -> None:
    console = _log()
    with ProgressLine(console) as line:
        for seconds, done in ((0, steps[0]), (8, steps[1]), (9, steps[1])):
            clock[0] = seconds
            line(Progress(stage="ingest", done=done, total=3, unit="videos"))
    assert _lines(console)[-1].replace("9 s", "8 s") == last
    assert len(_lines(console)) == 1


def test_a_stage_that_did_nothing_before_it_was_ended_leaves_no_line(clock: list[float]) -> None:
    console = _log()
    with ProgressLine(console) as line:
        line(Progress(stage="ingest", done=0, total=3, unit="videos"))
    assert _lines(console) == []


def test_failures_say_where_the_reasons_are_when_the_stage_ends(clock: list[float]) -> None:
    console = _log()
    with ProgressLine(console) as line:
        for done in (0, 2):
            line(
                Progress(
                    stage="ingest", done=done, total=2, unit="videos", note="2 failed", advice="conical status says why"
                )
            )
    assert _lines(console) == ["ingest          2 videos in 0 s, 2 failed (conical status says why)"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_live_lines_never_break(clock: list[float], width: int) -> None:
    line = ProgressLine(_terminal(width))
    told = [
        Activity(
            stage="train", subject="a method with a name that goes on and on for longer than a line", doing="starting"
        ),
        Progress(**TRAIN, done=0),  # type: ignore[arg-type]
        Progress(**TRAIN, done=1.2, note="best val t2v R@1 23.8 at epoch 1"),  # type: ignore[arg-type]
        Progress(stage="tune", done=3, total=30, unit="epochs", note="1 of 6 trials ended, best val t2v R@1 23.6"),
        Progress(stage="ingest", done=7, total=70_000, unit="videos", note="2 failed"),
    ]
    for number, one in enumerate(told):
        clock[0] = 10 * number
        line(one)
        assert all(len(text) < width for text in line.drawn().plain.split("\n")), line.drawn().plain


def test_while_nothing_is_counted_the_activity_stands_there_with_its_clock_and_no_bar(clock: list[float]) -> None:
    line = ProgressLine(_terminal())
    line(Progress(stage="ingest", done=0, total=3, unit="videos"))
    line(Progress(stage="ingest", done=3, total=3, unit="videos"))
    assert "━" not in line.drawn().plain
    clock[0] = 5
    assert line.drawn().plain.endswith("working ... 5 s")
    line(Activity(stage="train", subject="CEO", doing="starting workers"))
    clock[0] = 27
    assert line.drawn().plain == "train           CEO: starting workers ... 22 s"
    long = Activity(stage="train", subject="CEO " * 40, doing="starting workers")
    line(long)
    clock[0] = 30
    assert line.drawn().plain.endswith("… ... 3 s")


def test_a_live_stage_shows_its_subject_part_of_an_epoch_and_the_time_left(clock: list[float]) -> None:
    line = ProgressLine(_terminal())
    for seconds, done in ((0, 0), (10, 0.5), (20, 1), (30, 1.58)):
        clock[0] = seconds
        line(Progress(**TRAIN, done=done, note="best val R@1 23.8 at epoch 1"))  # type: ignore[arg-type]
    above, below = line.drawn().plain.split("\n")
    assert above == "train           CEO, human captions + supplements: best val R@1 23.8 at epoch 1"
    assert below == f"{'':16}{'━' * 24} 1.5 of 5 epochs, 1 min 03 s left"


def test_lines_that_stay_break_between_words(clock: list[float]) -> None:
    console = _terminal()
    with ProgressLine(console) as line:
        line(Progress(**TRAIN, done=0))  # type: ignore[arg-type]
        line(Progress(**TRAIN, done=5, note="no epoch better than untrained, val t2v R@1 20.0"))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "train           CEO, human captions + supplements: 5 epochs in 0 s, no epoch\n" in text
    assert f"{'':16}better than untrained, val t2v R@1 20.0\n" in text


def test_users_text_is_no_markup(clock: list[float]) -> None:
    console = _log()
    with ProgressLine(console) as line:
        line(Step(number=1, total=2, title="[bold]x[/]"))
        line(Activity(stage="train", subject="[red]y[/nope]", doing="starting"))
    assert _lines(console) == ["step 1 of 2: [bold]x[/]", "  train           [red]y[/nope]: starting"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (95, "1 min 35 s"),
        (3599.6, "1 h 00 min"),
        (7400, "2 h 03 min"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_examples_of_the_docstring() -> None:
    import doctest

    assert doctest.testmod(sys.modules[ProgressLine.__module__]).failed == 0

"""Speed and time left: of what was really done here, and lately."""

from __future__ import annotations

import pytest

from conical.cli.pace import Pace


def _pace(before: float, *samples: tuple[float, float]) -> Pace:
    pace = Pace(0.0, before)
    for now, done in samples:
        pace.add(now, done)
    return pace


@pytest.mark.parametrize(
    ("before", "samples", "rate"),
    [
        # nothing, or one thing, says nothing
        (0, (), None),
        (0, ((40, 10),), None),
        # all was there before: a millionth of a second for 700 units is no speed
        (700, ((1e-6, 700),), None),
        # everything at once tells nothing either
        (0, ((1e-6, 700),), None),
        # the start-up of 60 s is not counted, nor the 900 units of an earlier run
        (900, ((60, 910), (70, 920), (80, 930)), 1.0),
        # two workers that end together are one sample, or 10 units would take a tenth of a second
        (0, ((10, 5), (10.1, 10), (20, 15), (20.1, 20), (30, 25), (30.1, 30)), 1.0),
        # what is repeated, or goes back, is not done anew
        (0, ((10, 10), (20, 20), (25, 20), (30, 15), (40, 40)), 1.0),
        # an estimate of late: ten a second for long, then one
        (
            0,
            (
                *((second, 10.0 * second) for second in range(1, 101)),
                *((second, 900.0 + second) for second in range(101, 200)),
            ),
            1.0,
        ),
        # slow things are seen over more than the window
        (0, ((100, 1), (200, 2), (300, 3)), 0.01),
    ],
)
def test_the_rate_is_of_what_was_done_here(
    before: float, samples: tuple[tuple[float, float], ...], rate: float | None
) -> None:
    assert _pace(before, *samples).per_second() == (None if rate is None else pytest.approx(rate))


def test_the_time_left_runs_down_while_nothing_is_told_and_is_never_negative() -> None:
    pace = _pace(0, (10, 10), (20, 20))
    assert pace.seconds_left(20, 100) == pytest.approx(80)
    assert pace.seconds_left(50, 100) == pytest.approx(50)
    assert pace.seconds_left(100, 100) is None
    assert _pace(0).seconds_left(5, 100) is None


def test_a_resumed_sweep_does_not_promise_by_its_first_trials() -> None:
    """The fault: 30 epochs of which 26 are done count 70 s for 4, not 60 s of start-up for every one."""
    pace = _pace(26, (60, 26.5), (70, 27), (80, 27.5))
    assert pace.seconds_left(80, 30) == pytest.approx(50)

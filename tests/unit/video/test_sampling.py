from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.video.sampling import (
    SAMPLERS,
    SamplingRequest,
    at_rate,
    random_segment,
    sample_indices,
    segment_centre,
    uniform,
    window_span,
)

# whole milliseconds: times as files have them, and never so close that a microsecond decides
MILLISECONDS = st.lists(st.integers(0, 400), min_size=1, max_size=60)


def _times(gaps: list[int]) -> list[float]:
    return [round(value / 1000, 6) for value in np.cumsum(gaps).tolist()]


@given(st.integers(2, 500), st.integers(2, 64))
def test_uniform_is_an_even_spread_rounded_half_up(count: int, num: int) -> None:
    expected = tuple(floor(Fraction(k * (count - 1), num - 1) + Fraction(1, 2)) for k in range(num))
    assert uniform(count, num) == expected


@given(st.integers(1, 500), st.integers(1, 64))
def test_segment_centres_lie_in_their_segments(count: int, num: int) -> None:
    for k, position in enumerate(segment_centre(count, num)):
        assert position == floor((k + Fraction(1, 2)) * count / num)


@given(st.integers(1, 64), st.integers(0, 400), st.integers(0, 1000))
def test_a_random_position_lies_in_each_segment(num: int, more: int, seed: int) -> None:
    count = num + more
    found = random_segment(np.random.default_rng(seed), count, num)
    assert len(found) == num
    for k, position in enumerate(found):
        assert floor(Fraction(k * count, num)) <= position < floor(Fraction((k + 1) * count, num))


def test_every_frame_of_a_segment_is_drawn_as_often() -> None:
    # 6 frames, 2 segments: frames 0, 1, 2 and 3, 4, 5
    draws = np.array([random_segment(np.random.default_rng(seed), 6, 2) for seed in range(3000)])
    for column, frames in enumerate(([0, 1, 2], [3, 4, 5])):
        shares = [(draws[:, column] == frame).mean() for frame in frames]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.035)  # four standard errors


def test_uniform_holds_the_first_and_the_last_frame() -> None:
    assert uniform(240, 10)[0] == 0
    assert uniform(240, 10)[-1] == 239


def test_a_single_frame_is_the_middle_one() -> None:
    assert uniform(9, 1) == (4,)


@pytest.mark.parametrize(
    ("seconds", "fps", "expected"),
    [
        # 25 frames per second, one per second: frames 0, 25 and 50
        ([k / 25 for k in range(60)], 1.0, (0, 25, 50)),
        # 2.5 a second: moments 0, 0.4, 0.8, 1.2
        ([k / 25 for k in range(31)], 2.5, (0, 10, 20, 30)),
        # between two frames the earlier one is on show
        ([0.0, 0.9, 1.8, 2.7], 1.0, (0, 1, 2)),
        # a pause: the frame before it is shown at 1, 2 and 3 s, and taken once
        ([0.0, 0.5, 3.5, 4.0], 1.0, (0, 1, 3)),
        # the file's clock does not start at zero
        ([7.0, 7.5, 8.0, 8.5, 9.0], 1.0, (0, 2, 4)),
        # more moments than frames: all frames
        ([0.0, 0.04, 0.08], 200.0, (0, 1, 2)),
        ([3.0], 5.0, (0,)),
    ],
)
def test_frames_at_a_rate_by_hand(seconds: list[float], fps: float, expected: tuple[int, ...]) -> None:
    assert at_rate(seconds, sample_fps=fps) == expected


@given(MILLISECONDS, st.sampled_from([0.5, 1.0, 2.0, 4.0, 8.0, 25.0]))
def test_frames_at_a_rate_are_those_on_show(gaps: list[int], fps: float) -> None:
    seconds = _times(gaps)
    expected, moment = [], Fraction(0)
    times = [Fraction(round((time - seconds[0]) * 1000), 1000) for time in seconds]
    while moment <= times[-1]:
        expected.append(max(k for k, time in enumerate(times) if time <= moment))
        moment += 1 / Fraction(fps)
    assert at_rate(seconds, sample_fps=fps) == tuple(sorted(set(expected)))


@given(gaps=MILLISECONDS, fps=st.floats(0.1, 240.0), num=st.integers(1, 30))
def test_more_frames_than_the_cap_are_spread_evenly(gaps: list[int], fps: float, num: int) -> None:
    seconds = _times(gaps)
    candidates = at_rate(seconds, sample_fps=fps)
    request = SamplingRequest(num_frames=num, sample_fps=fps)
    indices, is_padded = sample_indices(seconds, sampler="fps", request=request)
    assert is_padded == (len(candidates) < num)
    if is_padded:
        assert indices == candidates + (candidates[-1],) * (num - len(candidates))
    else:
        assert indices == tuple(candidates[position] for position in uniform(len(candidates), num))


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(first=st.integers(0, 50), gaps=MILLISECONDS, num=st.integers(1, 30), seed=st.integers(0, 9))
def test_indices_never_decrease_and_stay_in_the_clip(
    sampler: str, first: int, gaps: list[int], num: int, seed: int
) -> None:
    seconds = _times(gaps)
    request = SamplingRequest(num_frames=num, sample_fps=3.0, seed=seed)
    indices, is_padded = sample_indices(seconds, first=first, sampler=sampler, request=request)
    assert len(indices) == num
    assert list(indices) == sorted(indices)
    assert set(indices) <= set(range(first, first + len(seconds)))
    assert is_padded or len(set(indices)) == num
    assert (indices, is_padded) == sample_indices(seconds, first=first, sampler=sampler, request=request)
    if len(seconds) < num:
        assert is_padded
    if sampler == "uniform" and num > 1:
        assert (indices[0], indices[-1]) == (first, first + len(seconds) - 1)
    if sampler == "fps" and num > 1:
        assert seconds[indices[0] - first] == seconds[0]


def test_a_short_clip_repeats_its_last_frame_and_says_so() -> None:
    request = SamplingRequest(num_frames=5)
    assert sample_indices([0.0, 0.1, 0.2], sampler="uniform", request=request) == ((0, 1, 2, 2, 2), True)


def test_another_seed_draws_other_frames() -> None:
    seconds = [k / 25 for k in range(250)]
    drawn = {
        sample_indices(seconds, sampler="random_segment", request=SamplingRequest(num_frames=10, seed=seed))[0]
        for seed in range(20)
    }
    assert len(drawn) == 20


def test_a_window_is_half_open() -> None:
    times = [0.0, 0.04, 0.08, 0.12]
    assert window_span(times, start_seconds=0.04, end_seconds=0.12) == range(1, 3)
    assert window_span(times, start_seconds=0.0, end_seconds=None) == range(4)
    assert not window_span(times, start_seconds=1.0, end_seconds=2.0)

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.video.sampling import SAMPLERS, sample_indices, segment_centre, uniform, window_span


@given(st.integers(2, 500), st.integers(2, 64))
def test_uniform_is_an_even_spread_rounded_half_up(count: int, num: int) -> None:
    expected = tuple(floor(Fraction(k * (count - 1), num - 1) + Fraction(1, 2)) for k in range(num))
    assert uniform(count, num) == expected


@given(st.integers(1, 500), st.integers(1, 64))
def test_segment_centres_lie_in_their_segments(count: int, num: int) -> None:
    for k, position in enumerate(segment_centre(count, num)):
        assert position == floor((k + Fraction(1, 2)) * count / num)


def test_uniform_holds_the_first_and_the_last_frame() -> None:
    assert uniform(240, 10)[0] == 0
    assert uniform(240, 10)[-1] == 239


def test_a_single_frame_is_the_middle_one() -> None:
    assert uniform(9, 1) == (4,)


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(start=st.integers(0, 50), count=st.integers(1, 60), num=st.integers(1, 30))
def test_indices_never_decrease_and_stay_in_the_clip(sampler: str, start: int, count: int, num: int) -> None:
    span = range(start, start + count)
    indices, is_padded = sample_indices(span, num_frames=num, sampler=sampler)
    assert len(indices) == num
    assert list(indices) == sorted(indices)
    assert set(indices) <= set(span)
    assert is_padded == (count < num)


def test_a_short_clip_repeats_its_last_frame_and_says_so() -> None:
    assert sample_indices(range(3), num_frames=5, sampler="uniform") == ((0, 1, 2, 2, 2), True)


def test_a_window_is_half_open() -> None:
    times = [0.0, 0.04, 0.08, 0.12]
    assert window_span(times, start_seconds=0.04, end_seconds=0.12) == range(1, 3)
    assert window_span(times, start_seconds=0.0, end_seconds=None) == range(4)
    assert not window_span(times, start_seconds=1.0, end_seconds=2.0)

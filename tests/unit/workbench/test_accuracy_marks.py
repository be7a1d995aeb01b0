"""Pictures that name themselves."""

from __future__ import annotations

import doctest
import itertools

import numpy as np
import pytest

from conical.video import Orientation, centre_square
from conical.workbench.frame_accuracy import marks as accuracy_marks
from conical.workbench.frame_accuracy.marks import MAX_FRAMES, draw_name, read_name

UPRIGHT = Orientation()


def _shown(index: int, *, told: Orientation = UPRIGHT, applied: Orientation | None = None) -> int | None:
    picture = draw_name(index, width=96, height=64, orientation=told)
    return read_name(centre_square(picture, size=64, orientation=applied or told))


@pytest.mark.parametrize("index", range(MAX_FRAMES))
def test_each_picture_names_its_index(index: int) -> None:
    assert _shown(index) == index


def test_there_is_no_name_beyond_the_last() -> None:
    with pytest.raises(AssertionError):
        draw_name(MAX_FRAMES, width=96, height=64, orientation=UPRIGHT)


def test_only_the_told_orientation_reads() -> None:
    ways = [
        Orientation(rotation_degrees=degrees, is_mirrored=is_mirrored)
        for degrees in (0, 90, 180, 270)
        for is_mirrored in (False, True)
    ]
    for told, applied in itertools.product(ways, ways):
        assert _shown(5, told=told, applied=applied) == (5 if told == applied else None)


@pytest.mark.parametrize("aspect", [0.5, 0.75, 1.25, 4 / 3])
def test_a_picture_of_the_wrong_shape_does_not_read(aspect: float) -> None:
    assert _shown(5, told=Orientation(sample_aspect=aspect)) == 5
    assert _shown(5, told=Orientation(sample_aspect=aspect), applied=UPRIGHT) is None


def test_wrong_colours_do_not_read() -> None:
    square = centre_square(draw_name(9, width=64, height=64, orientation=UPRIGHT), size=64, orientation=UPRIGHT)
    assert read_name(square) == 9
    assert read_name(np.ascontiguousarray(square[:, :, ::-1])) is None  # blue for red
    assert read_name((square * 0.85).astype(np.uint8)) is None  # a range taken for another


def test_a_blend_of_two_neighbours_does_not_read() -> None:
    one, other = (draw_name(index, width=64, height=64, orientation=UPRIGHT).astype(int) for index in (3, 4))
    assert read_name(((one + other) // 2).astype(np.uint8)) is None


def test_a_flat_picture_does_not_read() -> None:
    assert read_name(np.full((64, 64, 3), 128, np.uint8)) is None


def test_the_worked_example_is_true() -> None:
    assert doctest.testmod(accuracy_marks).attempted >= 1

from __future__ import annotations

import numpy as np
import pytest

from conical.core.errors import DecodeError
from conical.video import Orientation, centre_square


def test_the_centre_of_a_wide_picture_is_kept() -> None:
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:40] = 200
    square = centre_square(picture, size=20, orientation=Orientation())
    np.testing.assert_array_equal(square, np.full((20, 20, 3), 200, np.uint8))


def test_the_centre_of_a_tall_picture_is_kept() -> None:
    picture = np.zeros((60, 20, 3), np.uint8)
    picture[20:40] = 200
    square = centre_square(picture, size=20, orientation=Orientation())
    np.testing.assert_array_equal(square, np.full((20, 20, 3), 200, np.uint8))


def test_wide_pixels_are_squared() -> None:
    # shown, 20 x 20 pixels of aspect 2 are 40 x 20: the kept centre is 10 of the stored columns
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[:, 5:15] = 200
    square = centre_square(picture, size=20, orientation=Orientation(sample_aspect=2.0))
    # the filter reaches a little beyond the kept box, so its edge is not flat
    np.testing.assert_allclose(square[:, 1:-1].astype(int), 200, atol=20)
    picture[:, :5] = picture[:, 15:] = 200
    np.testing.assert_array_equal(centre_square(picture, size=20, orientation=Orientation(sample_aspect=2.0)), 200)


def test_a_rotated_picture_is_turned_upright_counter_clockwise() -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[:, 10:] = 200  # bright right half
    square = centre_square(picture, size=20, orientation=Orientation(rotation_degrees=90))
    assert square[:8].mean() > 190  # the right side is on top after a quarter turn
    assert square[12:].mean() < 10


def test_a_checkerboard_is_averaged_not_picked() -> None:
    picture = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    square = centre_square(np.repeat(picture[..., None], 3, axis=2).astype(np.uint8), size=8, orientation=Orientation())
    assert 110 < square.min() <= square.max() < 145


def test_an_odd_rotation_is_refused() -> None:
    with pytest.raises(DecodeError, match="rotation must be a multiple of 90 degrees, got 45"):
        centre_square(np.zeros((8, 8, 3), np.uint8), size=8, orientation=Orientation(rotation_degrees=45))

from __future__ import annotations

import numpy as np
import pytest

from conical.core.errors import DecodeError
from conical.video import Orientation, centre_square
from conical.video.geometry import centre_box, orientation_of_matrix, turn_upright


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


# rows (a, b, c, d) of the eight ways to show a picture, y downwards, worked out by hand from where corners go
@pytest.mark.parametrize(
    ("rows", "degrees", "is_mirrored"),
    [
        ((1, 0, 0, 1), 0, False),
        ((0, -1, 1, 0), 90, False),
        ((-1, 0, 0, -1), 180, False),
        ((0, 1, -1, 0), 270, False),
        ((-1, 0, 0, 1), 0, True),
        ((0, 1, 1, 0), 90, True),
        ((1, 0, 0, -1), 180, True),
        ((0, -1, -1, 0), 270, True),
    ],
)
@pytest.mark.parametrize("scale", [65536, 32768])
def test_a_display_matrix_is_a_turn_after_a_mirroring(
    rows: tuple[int, ...], degrees: int, is_mirrored: bool, scale: int
) -> None:
    a, b, c, d = (scale * value for value in rows)
    found = orientation_of_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30], sample_aspect=1.5)
    assert found == Orientation(sample_aspect=1.5, rotation_degrees=degrees, is_mirrored=is_mirrored)
    # the slow way: move each pixel by the matrix, then shift the result into view
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    places = {(x * rows[0] + y * rows[2], x * rows[1] + y * rows[3]): picture[y, x] for y in range(2) for x in range(3)}
    left, top = (min(place[axis] for place in places) for axis in (0, 1))
    moved = np.zeros((2, 3) if degrees % 180 == 0 else (3, 2), np.uint8)
    for (x, y), value in places.items():
        moved[y - top, x - left] = value
    np.testing.assert_array_equal(turn_upright(picture, found), moved)


@pytest.mark.parametrize("rows", [(0, 0, 0, 0), (1, 0, 1, 1), (1, 1, 1, 1)])
def test_a_display_matrix_that_shears_is_refused(rows: tuple[int, ...]) -> None:
    a, b, c, d = (65536 * value for value in rows)
    with pytest.raises(DecodeError, match="the display matrix must turn and mirror only, got") as caught:
        orientation_of_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30], sample_aspect=1.0)
    assert caught.value.kind == "refused"


def test_the_middle_of_wide_pixels_is_narrower_than_high() -> None:
    assert centre_box(40, 20, sample_aspect=2.0) == (15.0, 0.0, 25.0, 20.0)

"""From a decoded picture to the stored square. One implementation for all backends, so that they agree bit for bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How a decoded picture is to be shown: mirrored first, then turned.

    Args:
        sample_aspect: width of a pixel divided by its height, > 0.
        rotation_degrees: counter-clockwise turn that makes it upright.
        is_mirrored: left and right are to be swapped before the turn.
    """

    sample_aspect: float = 1.0
    rotation_degrees: int = 0
    is_mirrored: bool = False


def orientation_of_matrix(matrix: Sequence[int], *, sample_aspect: float) -> Orientation:
    """How to show a picture that comes with a display matrix.

    A point (x, y) of the picture, y downwards, is shown at (x, y) [[a, b], [c, d]]. Apart from its scale, a matrix of
    perpendicular rows is a turn, after a mirroring if its determinant is negative.

    Args:
        matrix: nine integers in rows, `a b u c d v x y w` (ISO/IEC 14496-12, 6.2.2).
        sample_aspect: width of a pixel divided by its height.

    Raises:
        DecodeError: `refused`, the matrix shears the picture or maps it to a line.

    >>> orientation_of_matrix([0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30], sample_aspect=1.0)
    Orientation(sample_aspect=1.0, rotation_degrees=90, is_mirrored=False)
    """
    a, b, _, c, d = matrix[:5]
    determinant = a * d - b * c
    # written in 16.16 fixed point, so perpendicular within rounding
    if abs(a * c + b * d) > 1e-3 * abs(determinant) or determinant == 0:
        raise DecodeError("refused", f"the display matrix must turn and mirror only, got {[a, b, c, d]}")
    # only the first row changes its sign by the mirroring
    degrees = round(math.degrees(math.atan2(c, d))) % 360
    return Orientation(sample_aspect=sample_aspect, rotation_degrees=degrees, is_mirrored=determinant < 0)


def turn_upright(picture: NDArray[np.uint8], orientation: Orientation) -> NDArray[np.uint8]:
    """Mirror and turn a picture (height, width, 3) as its orientation says.

    Raises:
        DecodeError: `refused`, the rotation is not a multiple of 90 degrees.
    """
    if orientation.rotation_degrees % 90:
        raise DecodeError("refused", f"rotation must be a multiple of 90 degrees, got {orientation.rotation_degrees}")
    mirrored = picture[:, ::-1] if orientation.is_mirrored else picture
    return np.rot90(mirrored, orientation.rotation_degrees // 90)


def centre_box(width: int, height: int, *, sample_aspect: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom, in px of the stored picture, of what is shown as its middle square.

    >>> centre_box(40, 20, sample_aspect=1.0)
    (10.0, 0.0, 30.0, 20.0)
    """
    side = min(width * sample_aspect, height)
    box_width, box_height = side / sample_aspect, side
    left, top = (width - box_width) / 2, (height - box_height) / 2
    # rounding must not push the box past the picture, Pillow refuses that
    return max(0.0, left), max(0.0, top), min(float(width), left + box_width), min(float(height), top + box_height)


def centre_square(picture: NDArray[np.uint8], *, size: int, orientation: Orientation) -> NDArray[np.uint8]:
    """Show the picture upright with square pixels, resize its short side to `size`, keep the centre.

    Resize and crop are one step: the box of the source that becomes the square is resampled with an antialiased
    bicubic filter in Pillow's fixed-point arithmetic, which gives the same bytes on every machine.

    Args:
        picture: uint8 RGB, (height, width, 3).
        size: side of the result in px.
        orientation: pixel shape and turn of the picture.

    Returns:
        uint8 RGB, (size, size, 3).

    Raises:
        DecodeError: `refused`, the rotation is not a multiple of 90 degrees.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    box = centre_box(width, height, sample_aspect=orientation.sample_aspect)
    square = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(turn_upright(np.asarray(square), orientation))

"""From a decoded picture to the stored square. One implementation for all backends, so that they agree bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How a decoded picture is to be shown.

    Args:
        sample_aspect: width of a pixel divided by its height, > 0.
        rotation_degrees: counter-clockwise turn that makes it upright.
    """

    sample_aspect: float = 1.0
    rotation_degrees: int = 0


def centre_square(picture: NDArray[np.uint8], *, size: int, orientation: Orientation) -> NDArray[np.uint8]:
    """Show the picture upright with square pixels, resize its short side to `size`, keep the centre.

    Resize and crop are one step: the box of the source that becomes the square is resampled with an antialiased
    bicubic filter in Pillow's fixed-point arithmetic, which gives the same bytes on every machine.

    Args:
        picture: uint8 RGB, (height, width, 3).
        size: side of the result in px.
        orientation: pixel shape and rotation of the picture.

    Returns:
        uint8 RGB, (size, size, 3).

    Raises:
        DecodeError: `refused`, the rotation is not a multiple of 90 degrees.
    """
    from PIL import Image

    if orientation.rotation_degrees % 90:
        raise DecodeError("refused", f"rotation must be a multiple of 90 degrees, got {orientation.rotation_degrees}")
    height, width = picture.shape[:2]
    side = min(width * orientation.sample_aspect, height)
    box_width, box_height = side / orientation.sample_aspect, side
    left, top = (width - box_width) / 2, (height - box_height) / 2
    # rounding must not push the box past the picture, Pillow refuses that
    box = (max(0.0, left), max(0.0, top), min(float(width), left + box_width), min(float(height), top + box_height))
    square = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.rot90(np.asarray(square), orientation.rotation_degrees // 90))

"""Frames as one small JPEG strip inside a page."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

MAX_FRAMES = 8
_MAX_HEIGHT_PX = 128
_JPEG_QUALITY = 72


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Frames of one clip side by side in one picture.

    Args:
        uri: the picture, JPEG.
        num_frames: how many are in it, all of one width.
    """

    uri: str
    num_frames: int

    def __repr__(self) -> str:
        return f"Strip(num_frames={self.num_frames}, uri={len(self.uri)} characters)"


def data_uri(content: bytes, media_type: str) -> str:
    """The bytes as a URI that needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def strip_of(filmstrip: NDArray[np.uint8]) -> Strip:
    """The frames in one picture, thinned and shrunk to what a page needs.

    Args:
        filmstrip: uint8, (num_frames, height, width, 3), RGB.

    Returns:
        At most `MAX_FRAMES` frames of at most 128 pixels height, evenly spaced, first and last kept.
    """
    count = min(len(filmstrip), MAX_FRAMES)
    chosen = np.linspace(0, len(filmstrip) - 1, count).round().astype(int)
    picture = np.concatenate([_shrink(filmstrip[index]) for index in chosen], axis=1)
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(picture), format="jpeg", pil_kwargs={"quality": _JPEG_QUALITY})
    return Strip(uri=data_uri(buffer.getvalue(), "image/jpeg"), num_frames=count)


def _shrink(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average whole blocks of pixels, so that no image library is needed."""
    factor = math.ceil(frame.shape[0] / _MAX_HEIGHT_PX)
    height, width = frame.shape[0] // factor, frame.shape[1] // factor
    if factor == 1 or width == 0:
        return frame
    blocks = frame[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    shrunk: NDArray[np.uint8] = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return shrunk

"""Frames as small JPEG pictures inside a page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

MAX_FRAMES = 10
_MAX_HEIGHT_PX = 160
_JPEG_QUALITY = 82


def data_uri(content: bytes, media_type: str) -> str:
    """The bytes as a URI that needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def frame_uris(filmstrip: NDArray[np.uint8]) -> tuple[str, ...]:
    """The frames as data URIs, thinned and shrunk to what a page needs.

    Args:
        filmstrip: uint8, (num_frames, height, width, 3), RGB.

    Returns:
        At most `MAX_FRAMES` JPEG pictures of at most 160 pixels height, evenly spaced, first and last kept.
    """
    count = min(len(filmstrip), MAX_FRAMES)
    chosen = np.linspace(0, len(filmstrip) - 1, count).round().astype(int)
    return tuple(_jpeg_uri(_shrink(filmstrip[index])) for index in chosen)


def _shrink(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average whole blocks of pixels, so that no image library is needed."""
    factor = math.ceil(frame.shape[0] / _MAX_HEIGHT_PX)
    height, width = frame.shape[0] // factor, frame.shape[1] // factor
    if factor == 1 or width == 0:
        return frame
    blocks = frame[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    shrunk: NDArray[np.uint8] = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return shrunk


def _jpeg_uri(frame: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(frame), format="jpeg", pil_kwargs={"quality": _JPEG_QUALITY})
    return data_uri(buffer.getvalue(), "image/jpeg")

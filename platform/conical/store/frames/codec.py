"""Pixels to bytes and back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def encode_frame(frame: NDArray[np.uint8], *, codec: str, jpeg_quality: int) -> bytes:
    """One uint8 RGB frame (height, width, 3) as `raw` bytes or as a JPEG without chroma subsampling."""
    if codec == "raw":
        return frame.tobytes()
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=jpeg_quality, subsampling=0)
    return buffer.getvalue()


def decode_frame(payload: bytes | pa.Buffer, *, codec: str, height: int, width: int) -> NDArray[np.uint8]:
    """The uint8 RGB frame (height, width, 3) of a payload.

    Raises:
        ValueError: the payload is damaged or of another size.
    """
    if codec == "raw":
        return np.frombuffer(payload, dtype=np.uint8).reshape(height, width, 3)
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(payload), formats=("JPEG",)) as image:
            frame = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"a JPEG cannot be decoded ({error})") from error
    return frame.reshape(height, width, 3)

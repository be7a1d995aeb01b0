"""What a decoding backend gives: frames in presentation order, converted to RGB only when asked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.video.geometry import Orientation
from conical.video.probe import VideoInfo


@dataclass(frozen=True, kw_only=True)
class DecodedFrame:
    """One frame as the decoder shows it.

    Args:
        seconds: time from the file's first frame.
        to_rgb: converts to uint8 RGB (height, width, 3); called for sampled frames only, before the next frame is read.
        orientation: pixel shape and rotation that `to_rgb` has not applied.
        is_corrupt: the decoder says that the picture is damaged.
    """

    seconds: float
    to_rgb: Callable[[], NDArray[np.uint8]]
    orientation: Orientation
    is_corrupt: bool = False


# Yields every frame of the first video stream from the start, never seeks, and closes the file when closed itself.
Backend = Callable[[VideoInfo], Generator[DecodedFrame, None, None]]

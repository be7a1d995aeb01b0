"""Sequential decoding with PyAV, which wraps FFmpeg's libraries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError
from conical.video.backend import DecodedFrame
from conical.video.geometry import Orientation
from conical.video.probe import VideoInfo

if TYPE_CHECKING:
    from av import VideoFrame


def pyav_frames(info: VideoInfo) -> Iterator[DecodedFrame]:
    """Every frame of the first video stream.

    Raises:
        DecodeError: `corrupt`, the decoder refuses a packet.
    """
    import av

    try:
        with av.open(info.path) as container:
            stream = container.streams.video[0]
            # one thread a file: ingest runs one file a core, and errors then surface at the packet that causes them
            stream.thread_count = 1
            for index, frame in enumerate(container.decode(stream)):
                yield DecodedFrame(
                    seconds=_seconds(frame, index, info),
                    to_rgb=partial(_to_rgb, frame),
                    orientation=Orientation(sample_aspect=info.sample_aspect, rotation_degrees=frame.rotation),
                    is_corrupt=frame.is_corrupt,
                )
    except av.error.FFmpegError as error:
        raise DecodeError("corrupt", f"{info.path.name}: the decoder refuses a packet ({error.strerror})") from error


def _seconds(frame: VideoFrame, index: int, info: VideoInfo) -> float:
    if frame.time is not None:
        return round(float(frame.time) - info.origin_seconds, 6)
    return info.frame_seconds[min(index, info.num_frames - 1)]


def _to_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    return frame.to_ndarray(format="rgb24")

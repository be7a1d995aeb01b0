"""Sequential decoding with torchcodec, where it is installed and finds FFmpeg's libraries.

Its exact mode reads all packets first, so that index k is the k-th shown frame; frames are asked for one after the
other all the same.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

from conical.core.errors import DecodeError
from conical.video.backends.backend import DecodedFrame
from conical.video.backends.pyav import refuse_if_turned
from conical.video.geometry import Orientation
from conical.video.probe import VideoInfo


def torchcodec_frames(info: VideoInfo) -> Generator[DecodedFrame, None, None]:
    """Every frame of the first video stream.

    Raises:
        DecodeError: `refused`, torchcodec is absent, cannot be loaded, cannot open the file or is not exact on this
            kind, or its decoder refuses a packet.
    """
    decoder = _open(info)
    refuse_if_turned(info, decoder="torchcodec")
    origin: float | None = None
    for index in range(len(decoder)):
        try:
            frame = decoder.get_frame_at(index)
        except RuntimeError as error:
            # it ends early on sound files of some kinds, where packets outnumber frames
            reason = f"torchcodec cannot give frame {index} of {len(decoder)} ({_first_line(error)})"
            raise DecodeError("refused", f"{info.path.name}: {reason}; choose decoder = 'pyav'") from error
        origin = frame.pts_seconds if origin is None else origin
        yield DecodedFrame(
            seconds=round(frame.pts_seconds - origin, 6),
            to_rgb=frame.data.numpy,
            orientation=Orientation(sample_aspect=info.sample_aspect),
        )


def _open(info: VideoInfo) -> Any:
    try:
        from torchcodec.decoders import VideoDecoder
    except ImportError as error:
        message = "torchcodec is not installed: choose decoder = 'pyav', or pip install 'conical[decoders]'"
        raise DecodeError("refused", message) from error
    except (OSError, RuntimeError) as error:
        message = "torchcodec cannot be loaded: install FFmpeg's shared libraries (4 to 9), or choose decoder = 'pyav'"
        raise DecodeError("refused", message) from error
    try:
        return VideoDecoder(
            str(info.path),
            stream_index=info.stream_index,
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            seek_mode="exact",
        )
    except (RuntimeError, ValueError) as error:
        reason = f"torchcodec cannot open it ({_first_line(error)})"
        raise DecodeError("refused", f"{info.path.name}: {reason}; choose decoder = 'pyav'") from error


def _first_line(error: Exception) -> str:
    """Its complaint without the place in its sources that comes first."""
    return re.sub(r"^\w+, \S+:\d+, ", "", str(error).strip().splitlines()[0])[:120]

"""Sequential decoding with decord.

Its random access is wrong on H.264 in AVI and on streams with B-frames, so frames are only ever read one after the
other. Its time stamps are wrong where packets have none of their own, so they come from the probe.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError
from conical.video.backends.backend import DecodedFrame
from conical.video.backends.pyav import key_frame_sizes, refuse_if_turned
from conical.video.geometry import Orientation
from conical.video.probe import VideoInfo


def decord_frames(info: VideoInfo) -> Generator[DecodedFrame, None, None]:
    """Every frame of the first video stream.

    Raises:
        DecodeError: `refused`, decord is absent, cannot open the file or is not exact on this kind; `corrupt`, its
            decoder refuses a packet.
    """
    refuse_if_turned(info, decoder="decord")
    reader, errors = _open(info)
    try:
        for index in range(len(reader)):
            picture = reader.next().asnumpy()
            if picture.shape[2] != 3:
                # some widths (48 px) come with row padding read as a fourth channel
                raise DecodeError(
                    "refused", f"{info.path.name}: decord misreads a width of {info.width} px; choose decoder = 'pyav'"
                )
            yield DecodedFrame(
                seconds=info.frame_seconds[min(index, info.num_frames - 1)],
                to_rgb=partial(_same, picture),
                orientation=Orientation(sample_aspect=info.sample_aspect),
            )
    except StopIteration:
        raise DecodeError("corrupt", f"{info.path.name}: decord ends before its own number of frames") from None
    except errors as error:
        raise DecodeError("corrupt", f"{info.path.name}: decord refuses a packet ({first_line(error)})") from error
    finally:
        # it decodes ahead without bound for as long as it lives
        del reader


def _same(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture


def _open(info: VideoInfo) -> tuple[Any, tuple[type[Exception], ...]]:
    """A reader at the first frame, and the exceptions that its decoder raises."""
    try:
        import decord
        from decord._ffi.base import DECORDError
    except ImportError as error:
        raise DecodeError(
            "refused", "decord is not installed: choose decoder = 'pyav', or pip install 'conical[decoders]'"
        ) from error
    errors = (RuntimeError, DECORDError)
    name = info.path.name
    if len(key_frame_sizes(info)) > 1:
        # it squeezes all pictures into the size of the first
        raise DecodeError("refused", f"{name}: decord cannot follow a change of size; choose decoder = 'pyav'")
    try:
        reader = decord.VideoReader(str(info.path), num_threads=1)
    except errors as error:
        reason = first_line(error)
        raise DecodeError("refused", f"{name}: decord cannot open it ({reason}); choose decoder = 'pyav'") from error
    if len(reader) != info.num_frames:
        # it then repeats the last frame for those that an edit list or an open GOP drops
        counts = f"{len(reader)} frames, the file shows {info.num_frames}"
        raise DecodeError("refused", f"{name}: decord counts {counts}; choose decoder = 'pyav'")
    return reader, errors


def first_line(error: Exception) -> str:
    """What decord complains of, without the time of day and the raw numbers that differ from one call to the next."""
    line = str(error).strip().splitlines()[0]
    line = re.sub(r"^\[[\d:]+\] \S+: ", "", line)
    return re.sub(r" \(-?\d+ vs\. -?\d+\)", "", line)[:200]

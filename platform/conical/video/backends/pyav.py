"""Sequential decoding with PyAV, which wraps FFmpeg's libraries."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError
from conical.video.backends.backend import DecodedFrame
from conical.video.geometry import Orientation, orientation_of_matrix
from conical.video.probe import VideoInfo

if TYPE_CHECKING:
    from av import FFmpegError, VideoFrame
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream


def pyav_frames(info: VideoInfo) -> Generator[DecodedFrame]:
    """Every frame of the video stream that the probe chose.

    Raises:
        DecodeError: `corrupt`, the decoder refuses a packet.
    """
    import av
    from av.video.reformatter import VideoReformatter

    to_rgb = partial(_to_rgb, VideoReformatter())
    try:
        with av.open(info.path) as container:
            stream = _stream_of(container, info)
            # one thread per file: ingest runs one file per core, and errors then surface at the packet that causes them
            stream.thread_count = 1
            origin: float | None = None
            orientation = Orientation(sample_aspect=info.sample_aspect)
            for index, frame in enumerate(container.decode(stream)):
                # the probe's origin is the first packet, which shows nothing where an open group was cut
                origin = frame.time if origin is None else origin
                # a display matrix comes with the container or with key frames; looking is dear
                orientation = _orientation(frame, info) if index == 0 or frame.key_frame else orientation
                yield DecodedFrame(
                    seconds=_seconds(frame, index, info, origin=origin),
                    to_rgb=partial(to_rgb, frame),
                    orientation=orientation,
                    is_corrupt=frame.is_corrupt,
                )
    except av.error.FFmpegError as error:
        raise _packet_refused(info, error) from error


def refuse_if_turned(info: VideoInfo, *, decoder: str) -> None:
    """Keep a file that is to be turned or mirrored from a decoder that turns pictures itself.

    Such decoders know no mirrors, and turn before they convert colours: on real clips of phones the result differs from
    PyAV's by up to 4 levels.

    Args:
        info: the file; its first frame is decoded, since only frames carry the display matrix.
        decoder: name of the decoder, for the message.

    Raises:
        DecodeError: `refused`, the first frame is to be turned or mirrored; as `pyav_frames`.
    """
    with closing(pyav_frames(info)) as frames:
        stored = next((frame.orientation for frame in frames), Orientation())
    if stored.is_mirrored or stored.rotation_degrees:
        raise DecodeError(
            "refused", f"{info.path.name}: {decoder} is not exact on turned pictures; choose decoder = 'pyav'"
        )


def key_frame_sizes(info: VideoInfo) -> set[tuple[int, int]]:
    """Widths and heights of the key frames, in px: more than one if the size changes midway.

    Raises:
        DecodeError: as `pyav_frames`.
    """
    import av

    try:
        with av.open(info.path) as container:
            stream = _stream_of(container, info)
            stream.thread_count = 1
            stream.codec_context.skip_frame = "NONKEY"
            return {(frame.width, frame.height) for frame in container.decode(stream)}
    except av.error.FFmpegError as error:
        raise _packet_refused(info, error) from error


def _stream_of(container: InputContainer, info: VideoInfo) -> VideoStream:
    return next(stream for stream in container.streams.video if stream.index == info.stream_index)


def _packet_refused(info: VideoInfo, error: FFmpegError) -> DecodeError:
    return DecodeError("corrupt", f"{info.path.name}: the decoder refuses a packet ({error.strerror})")


def _seconds(frame: VideoFrame, index: int, info: VideoInfo, *, origin: float | None) -> float:
    # AVI has no presentation times; FFmpeg then makes them up in storage order
    if frame.time is None or origin is None or info.container == "avi":
        return info.frame_seconds[min(index, info.num_frames - 1)]
    return round(frame.time - origin, 6)


def _orientation(frame: VideoFrame, info: VideoInfo) -> Orientation:
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation(sample_aspect=info.sample_aspect)
    return orientation_of_matrix(np.frombuffer(matrix, np.int32).tolist(), sample_aspect=info.sample_aspect)


def _to_rgb(reformatter: VideoReformatter, frame: VideoFrame) -> NDArray[np.uint8]:
    # one converter per file: a new one for each frame costs more than a small picture, so do its own threads
    pixels = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return cast("NDArray[np.uint8]", pixels)

"""Clips of the kinds on which decoders go wrong, written so that each shown frame is known.

The truth is what was encoded, never what another decoder reads: each picture says which one it is
(`marks`), and a kind says which pictures its file shows, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from conical.video.geometry import Orientation
from conical.workbench.frame_accuracy.marks import draw_name

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

FRAMES_PER_SECOND = 25
_MILLISECOND = Fraction(1, 1000)
# pictures that an edit list, or a copy from the second group on, takes away
_NUM_TRIMMED = {"": 0, "edit_list": 5, "cut": 8, "two_sizes": 0}
_BT709 = 1  # AVCOL_SPC_BT709


@dataclass(frozen=True, kw_only=True)
class ClipKind:
    """One way to write a clip.

    Args:
        codec: FFmpeg's name of the encoder.
        pixel_format: as FFmpeg spells it.
        width, height: stored size in px.
        sample_aspect: width of a pixel divided by its height.
        rotation_degrees: counter-clockwise turn that players apply.
        is_mirrored: players mirror it before they turn it.
        num_frames: encoded pictures, 1 to 64.
        ticks: time of each picture in ms; (): evenly spaced.
        is_bt709: colours are coded by BT.709 and the file says so.
        edit: what is done to the file: `edit_list` hides the first pictures, `cut` copies the packets from the second
            key frame on, `two_sizes` writes the second half in another size.
    """

    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    muxer_options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    width: int = 96
    height: int = 64
    sample_aspect: Fraction = Fraction(1)
    rotation_degrees: int = 0
    is_mirrored: bool = False
    num_frames: int = 30
    ticks: tuple[int, ...] = ()
    is_bt709: bool = False
    edit: str = ""

    @property
    def shown(self) -> tuple[int, ...]:
        """Numbers of the pictures that the file shows, in order."""
        return tuple(range(_NUM_TRIMMED[self.edit], self.num_frames))

    @property
    def seconds(self) -> tuple[float, ...]:
        """When each is shown, counted from the first."""
        ticks = self.ticks or tuple(1000 * index // FRAMES_PER_SECOND for index in range(self.num_frames))
        return tuple((ticks[index] - ticks[self.shown[0]]) / 1000 for index in self.shown)

    @property
    def orientation(self) -> Orientation:
        """How the file says that it is to be shown."""
        return Orientation(
            sample_aspect=float(self.sample_aspect),
            rotation_degrees=self.rotation_degrees,
            is_mirrored=self.is_mirrored,
        )

    def write(self, path: Path) -> Path:
        """Encode the pictures into `path`.

        Raises:
            av.error.FFmpegError: this build of PyAV lacks the encoder.
        """
        if self.edit == "two_sizes":
            return _write_two_sizes(self, path)
        if self.edit == "cut":
            whole = path.with_stem(f"{path.stem}_whole")
            _write(self, whole)
            return copy_from_second_key(whole, path)
        return _write(self, path)


def _write(kind: ClipKind, path: Path) -> Path:
    import av

    shift = _NUM_TRIMMED[kind.edit] if kind.edit == "edit_list" else 0
    with av.open(path, "w", options=kind.muxer_options) as container:
        stream = _add_stream(kind, container)
        for frame in _pictures(kind, range(kind.num_frames)):
            # what is before time zero gets hidden by the edit list that the muxer writes
            frame.pts = (frame.pts or 0) - shift
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _add_stream(kind: ClipKind, container: OutputContainer) -> VideoStream:
    stream = cast("VideoStream", container.add_stream(kind.codec, rate=FRAMES_PER_SECOND, options=kind.options))
    stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, kind.pixel_format
    context: Any = stream.codec_context
    context.thread_count = 1  # more threads give other bytes
    context.time_base = _time_base(kind)
    if kind.sample_aspect != 1:
        context.sample_aspect_ratio = kind.sample_aspect
    if kind.is_bt709:
        context.colorspace = context.color_primaries = context.color_trc = _BT709
    if kind.rotation_degrees or kind.is_mirrored:
        stream.set_display_matrix(_display_matrix(kind.orientation))
    return stream


def _time_base(kind: ClipKind) -> Fraction:
    return _MILLISECOND if kind.ticks else Fraction(1, FRAMES_PER_SECOND)


def _pictures(kind: ClipKind, indices: Iterable[int]) -> Iterator[VideoFrame]:
    import av

    for index in indices:
        picture = draw_name(index, width=kind.width, height=kind.height, orientation=kind.orientation)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if kind.is_bt709:
            frame = frame.reformat(format=kind.pixel_format, dst_colorspace="ITU709")
            frame.colorspace = _BT709
        frame.pts = kind.ticks[index] if kind.ticks else index
        frame.time_base = _time_base(kind)
        yield frame


def _display_matrix(orientation: Orientation) -> list[int]:
    """Nine integers, 16.16 fixed point and 2.30 in the last column."""
    angle = np.deg2rad(orientation.rotation_degrees)
    cos, sin = (round(65536 * float(value)) for value in (np.cos(angle), np.sin(angle)))
    mirror = -1 if orientation.is_mirrored else 1
    return [mirror * cos, -mirror * sin, 0, sin, cos, 0, 0, 0, 1 << 30]


def copy_from_second_key(source: Path, target: Path) -> Path:
    """Copy packets, so that the leading frames of an open group lose the picture that they refer to."""
    import av

    with av.open(source) as read, av.open(target, "w") as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        num_keys = 0
        for packet in read.demux(stream):
            num_keys += packet.is_keyframe
            if num_keys >= 2 and packet.dts is not None:
                packet.stream = copy
                write.mux(packet)
    return target


def _write_two_sizes(kind: ClipKind, path: Path) -> Path:
    """Two runs of an encoder in one stream: the second half of the pictures has sides swapped."""
    import av

    half = kind.num_frames // 2
    with av.open(path, "w", options=kind.muxer_options) as container:
        stream = _add_stream(kind, container)
        container.mux([packet for frame in _pictures(kind, range(half)) for packet in stream.encode(frame)])
        container.mux(stream.encode())
        other = replace(kind, width=kind.height, height=kind.width)
        context: Any = av.CodecContext.create(kind.codec, "w")
        context.width, context.height, context.pix_fmt = other.width, other.height, other.pixel_format
        context.options = kind.options
        context.thread_count, context.time_base = 1, _time_base(kind)
        for frame in [*_pictures(other, range(half, kind.num_frames)), None]:
            for packet in context.encode(frame):
                packet.stream = stream
                container.mux(packet)
    return path

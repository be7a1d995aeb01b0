"""What a video file holds, found by reading its packets; headers are only compared with, never trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conical.core.errors import DecodeError
from conical.video.backends.image_order import IMAGES_FPS, ordered_images
from conical.video.container import container_kind, num_missing_bytes

IMAGES_CONTAINER = "images"
# codecs of single pictures; a film in one of them is read where the file has no other stream
_PICTURES = frozenset({"mjpeg", "png", "bmp", "tiff", "webp", "gif"})

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Facts about the video of a file: its first stream of moving pictures.

    Args:
        container: name of the container format, as FFmpeg spells it; `images` for a folder of images.
        codec: name of the codec; of a folder the suffixes of its images.
        pixel_format: layout of a decoded picture, such as `yuv420p`; "" if the header does not say.
        width, height: coded size in px, before rotation; 0 for a folder, whose images may differ in size.
        sample_aspect: width of a pixel divided by its height.
        frame_seconds: time of each packet's frame in presentation order, 0 at the first. The decoder may show fewer.
        origin_seconds: the file's own time of the first frame.
        num_declared_frames: frames by the header; 0 if it does not say.
        has_b_frames: the stream is stored in another order than it is shown.
        stream_index: number of the stream in the file.
        num_video_streams: how many there are, covers and previews included; one is read.
    """

    path: Path
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    sample_aspect: float
    frame_seconds: tuple[float, ...]
    origin_seconds: float
    num_declared_frames: int
    has_b_frames: bool
    stream_index: int = 0
    num_video_streams: int = 1

    @property
    def num_frames(self) -> int:
        """Counted packets that are to be shown; exact unless the decoder drops some (open GOP at the start)."""
        return len(self.frame_seconds)

    @property
    def duration_seconds(self) -> float:
        """From the first to the last frame."""
        return self.frame_seconds[-1] if self.frame_seconds else 0.0

    def __repr__(self) -> str:
        return (
            f"VideoInfo({self.path.name!r}, {self.container}/{self.codec} {self.width}x{self.height}, "
            f"{self.num_frames} frames, {self.duration_seconds:.3f} s)"
        )


def probe(path: str | Path) -> VideoInfo:
    """Read all packets of the video and say what is there; of a folder of images, its names.

    The video is the first stream of moving pictures: covers and previews, which phones, podcasts and downloaders put
    into files, are none.

    A file is `truncated` when its container's length fields run past the end of the file and packets are missing (or
    their number is not declared), or when its last packet is cut. A complete file with fewer packets than declared is
    not: edit lists drop packets rightfully.

    Raises:
        DecodeError: `missing`, `empty`, `not_a_video`, `no_video_stream`, `truncated` or `corrupt`; `refused` for a
            folder whose order is not clear, a file that no decoder knows, or what is no regular file.
    """
    import av

    path = Path(path)
    if path.is_dir():
        return _describe_folder(path)
    if not path.is_file():
        raise _no_file(path)
    if path.stat().st_size == 0:
        raise DecodeError("empty", f"{path.name}: the file has zero bytes")
    try:
        with av.open(path) as container:
            return _describe(path, container)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _describe_folder(path: Path) -> VideoInfo:
    images = ordered_images(path)
    return VideoInfo(
        path=path,
        container=IMAGES_CONTAINER,
        codec="+".join(sorted({image.suffix.lower().removeprefix(".") for image in images})),
        pixel_format="",
        width=0,
        height=0,
        sample_aspect=1.0,
        frame_seconds=tuple(index / IMAGES_FPS for index in range(len(images))),
        origin_seconds=0.0,
        num_declared_frames=0,
        has_b_frames=False,
    )


def _no_file(path: Path) -> DecodeError:
    if path.is_symlink() and not path.exists():
        return DecodeError("missing", f"{path.name}: a link that leads nowhere ({path.readlink()})")
    if path.exists():
        return DecodeError("refused", f"{path.name}: neither a file nor a folder of images")
    return DecodeError("missing", f"{path.name}: no such file")


def _moving_pictures(path: Path, container: InputContainer) -> VideoStream:
    """The first video stream that is no cover or preview.

    Raises:
        DecodeError: `no_video_stream`, there are only such.
    """
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not moving:
        raise DecodeError("no_video_stream", f"{path.name}: a cover picture, but no video ({container.format.name})")
    # Matroska files of some tools carry the cover as an ordinary track of a picture format
    films = [stream for stream in moving if stream.codec_context is None or stream.codec_context.name not in _PICTURES]
    return (films or moving)[0]


def _unreadable(path: Path, error: Exception) -> DecodeError:
    reason = getattr(error, "strerror", None) or str(error)
    if container_kind(path) is None:
        return DecodeError("not_a_video", f"{path.name}: no container format recognises it ({reason})")
    if missing := num_missing_bytes(path):
        return _truncated(path, missing)
    return DecodeError("corrupt", f"{path.name}: the container cannot be read ({reason})")


def _truncated(path: Path, missing: int) -> DecodeError:
    return DecodeError("truncated", f"{path.name}: the file ends {missing} bytes before its container says")


def _describe(path: Path, container: InputContainer) -> VideoInfo:
    if not container.streams.video:
        if missing := num_missing_bytes(path):
            raise _truncated(path, missing)
        raise DecodeError("no_video_stream", f"{path.name}: {container.format.name} without a video stream")
    stream = _moving_pictures(path, container)
    if stream.codec_context is None:
        raise DecodeError("refused", f"{path.name}: no decoder for the codec of its video stream")
    packets = [_Packet.of(packet) for packet in container.demux(stream) if not _is_flush(packet)]
    _refuse_cut_file(path, stream, packets)
    seconds, origin = _presentation_times(stream, packets)
    aspect = stream.sample_aspect_ratio
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=stream.codec_context.name,
        pixel_format=stream.codec_context.pix_fmt or "",
        width=stream.width,
        height=stream.height,
        sample_aspect=float(aspect) if aspect else 1.0,
        frame_seconds=seconds,
        origin_seconds=origin,
        num_declared_frames=stream.frames,
        has_b_frames=any(packet.pts != packet.dts for packet in packets if packet.pts is not None),
        stream_index=stream.index,
        num_video_streams=len(container.streams.video),
    )


@dataclass(frozen=True)
class _Packet:
    """What is kept of a packet, so that its bytes can go."""

    pts: int | None
    dts: int | None
    is_shown: bool
    is_corrupt: bool

    @classmethod
    def of(cls, packet: Packet[Any]) -> _Packet:
        is_shown = packet.size > 0 and not packet.is_discard
        return cls(packet.pts, packet.dts, is_shown, packet.is_corrupt)


def _is_flush(packet: Packet[Any]) -> bool:
    """PyAV ends a stream with an empty packet of no time."""
    return packet.size == 0 and packet.dts is None and packet.pts is None


def _refuse_cut_file(path: Path, stream: VideoStream, packets: list[_Packet]) -> None:
    declared = stream.frames
    is_short = declared == 0 or len(packets) < declared
    missing = num_missing_bytes(path)
    if (missing and is_short) or (packets and packets[-1].is_corrupt):
        said = f" of {declared}" if declared else ""
        raise DecodeError("truncated", f"{path.name}: the file ends after {len(packets)}{said} packets")


def _presentation_times(stream: VideoStream, packets: list[_Packet]) -> tuple[tuple[float, ...], float]:
    """Times from zero, and the zero. Streams without time stamps get theirs from the mean rate."""
    shown = [packet for packet in packets if packet.is_shown]
    stamps = [packet.pts if packet.pts is not None else packet.dts for packet in shown]
    if any(stamp is None for stamp in stamps) or stream.time_base is None:
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        return tuple(round(k / rate, 6) for k in range(len(shown))), 0.0
    ordered = sorted(stamp for stamp in stamps if stamp is not None)
    base = stream.time_base
    origin = ordered[0] if ordered else 0
    # to the microsecond, so that a window that starts at a frame's time includes it
    return tuple(round(float((stamp - origin) * base), 6) for stamp in ordered), float(origin * base)

"""Which backend may read which kind of file: only where the accuracy suite found every frame right.

The figures behind each line are in docs/frame_accuracy.md. A test writes the suite's clips and holds the rules to it:
no allowed pair of kind and backend may give one wrong frame, and backends allowed for one kind must agree to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.errors import DecodeError
from conical.video.probe import VideoInfo

_MP4, _AVI, _MATROSKA, _MPEG = "mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm", "mpeg"
_EIGHT_BIT = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")


@dataclass(frozen=True, kw_only=True)
class DecoderRule:
    """Kinds of file on which a backend is exact.

    Args:
        containers: names of container formats, as FFmpeg spells them.
        pixel_formats: layouts of a decoded picture.
    """

    containers: tuple[str, ...]
    pixel_formats: tuple[str, ...]

    def objection(self, info: VideoInfo) -> str:
        """What speaks against reading this file; "" if nothing does."""
        if info.container not in self.containers or info.pixel_format not in self.pixel_formats:
            return f"{info.pixel_format or 'an unknown pixel format'} in {info.container}"
        if info.width % 2 or info.height % 2:
            return f"an odd size ({info.width} x {info.height})"
        return "several video streams" if info.num_video_streams > 1 else ""


# PyAV has no rule: it is exact on every kind of the suite, or refuses by itself what cannot be shown. What only a
# decoder can see (rotation, a change of size, frames that an edit list drops) the other backends refuse themselves.
RULES = {
    # Matroska: dropped frames are made up; MPEG-TS, ASF, FLV: fails or is not measured; deeper
    # than 8 bits: wrong colours
    "decord": DecoderRule(containers=(_MP4, _AVI, _MPEG), pixel_formats=_EIGHT_BIT),
    # AVI, MPEG-PS, MPEG-TS: stops early on B-frames; deeper than 8 bits and odd sizes: other roundings than PyAV
    "torchcodec": DecoderRule(containers=(_MP4, _MATROSKA), pixel_formats=_EIGHT_BIT),
}
# Fastest first, by the CPU times in docs/frame_accuracy.md.
AUTO_ORDER = ("pyav", "torchcodec", "decord")


def refuse_if_inexact(decoder: str, info: VideoInfo) -> None:
    """Hold a built-in backend to its rule; one from outside has none.

    Raises:
        DecodeError: `refused`, the backend is not exact on this kind of file.
    """
    objection = RULES[decoder].objection(info) if decoder in RULES else ""
    if objection:
        raise DecodeError(
            "refused", f"{info.path.name}: {decoder} is not exact on {objection}; choose decoder = 'pyav'"
        )

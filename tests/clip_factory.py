"""Small clips whose frames name themselves: the grey level of a frame is a function of its index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FIRST_LEVEL, LEVEL_STEP = 20, 7
MAX_FRAMES = 33


def grey_level(index: int) -> int:
    """Level of frame `index`, 0 to 255; codecs move a flat frame by 1 or 2 levels, some by 3; half a step is more."""
    assert index < MAX_FRAMES
    return FIRST_LEVEL + LEVEL_STEP * index


def named_indices(frames: NDArray[np.uint8]) -> list[int]:
    """The index that each frame (frame, height, width, 3) names by its mean level."""
    means = frames.reshape(len(frames), -1).mean(axis=1)
    return [round((mean - FIRST_LEVEL) / LEVEL_STEP) for mean in means]


def write_pictures(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: int = 25,
    ticks: Sequence[int] | None = None,
    muxer_options: dict[str, str] | None = None,
) -> Path:
    """Encode uint8 RGB pictures; `ticks` are their times in 1/1000 s where they are not evenly spaced."""
    time_base = Fraction(1, rate if ticks is None else 1000)
    with av.open(path, "w", options=muxer_options or {}) as container:
        stream = None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options or {})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
                stream.codec_context.time_base = time_base
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index if ticks is None else ticks[index]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_clip(path: Path, *, num_frames: int = 30, width: int = 64, height: int = 48, **encoding: object) -> Path:
    """A clip of flat grey frames, each named by its level."""
    pictures = (np.full((height, width, 3), grey_level(index), np.uint8) for index in range(num_frames))
    return write_pictures(path, pictures, **encoding)


def write_sound(path: Path) -> Path:
    """A file with sound only."""
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path

"""How long the decoders take on clips of usual size; the order in `rules.AUTO_ORDER` comes from here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conical.core.errors import DecodeError
from conical.video.decode import sample_frames
from conical.video.recipe import FrameRecipe

NUM_FRAMES = 300
SIZES = ((320, 240), (1280, 720))
_BLOCK_PX = 8
_FRAMES_PER_SECOND = 30


@dataclass(frozen=True, kw_only=True)
class DecodingTime:
    """Time to sample ten frames of 224 px from one clip.

    Args:
        width, height: of the clip, in px.
        milliseconds: CPU time of all threads, the best of the repeats; None: the backend refuses.
    """

    width: int
    height: int
    decoder: str
    milliseconds: float | None


def measure_times(
    folder: Path, *, decoders: tuple[str, ...], repeats: int, sizes: tuple[tuple[int, int], ...] = SIZES
) -> list[DecodingTime]:
    """Write an H.264 clip of each size and sample it with each decoder.

    Args:
        repeats: readings of which the fastest counts, the decoders taking turns; >= 1.
        sizes: widths and heights in px.
    """
    found = []
    for width, height in sizes:
        path = _write_moving_blocks(folder / f"{width}x{height}.mp4", width=width, height=height)
        seconds: dict[str, list[float]] = {decoder: [] for decoder in decoders}
        for _ in range(repeats):
            for decoder in decoders:
                start = time.process_time()
                try:
                    sample_frames(path, FrameRecipe(decoder=decoder))
                except DecodeError:
                    continue
                seconds[decoder].append(time.process_time() - start)
        found += [
            DecodingTime(width=width, height=height, decoder=decoder, milliseconds=1000 * min(times) if times else None)
            for decoder, times in seconds.items()
        ]
    return found


def _write_moving_blocks(path: Path, *, width: int, height: int) -> Path:
    """Coloured blocks that drift, so that every frame holds motion and detail."""
    import av

    rng = np.random.default_rng(0)
    rows, columns = (side // _BLOCK_PX + NUM_FRAMES // _BLOCK_PX + 1 for side in (height, width))
    ground = rng.integers(0, 256, (rows, columns, 3), np.uint8).repeat(_BLOCK_PX, 0).repeat(_BLOCK_PX, 1)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=_FRAMES_PER_SECOND, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for shift in range(NUM_FRAMES):
            picture = np.ascontiguousarray(ground[shift : shift + height, shift : shift + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path

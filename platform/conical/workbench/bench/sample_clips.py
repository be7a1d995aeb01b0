"""Clips to measure speed on: moving content at the bit rate of real short videos."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BLOCK_PX = 8


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """H.264 clips of one kind.

    Args:
        name: what they are called in a table.
        width, height: in px.
        kilobits: bits a second / 1000; 300 is what MSR-VTT's 320x240 clips have.
        num_distinct: clips that are encoded; the other files are copies.
        is_still: one picture for all frames, where only their number counts.
    """

    name: str
    width: int
    height: int
    num_seconds: int = 10
    fps: int = 30
    kilobits: int = 300
    num_clips: int = 1
    num_distinct: int = 1
    is_still: bool = False

    @property
    def num_frames(self) -> int:
        """Frames of each clip."""
        return self.num_seconds * self.fps


def write_clips(clips: ClipSet, folder: Path) -> list[Path]:
    """Write the files `0000.mp4`, `0001.mp4`, ... and return them."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:04d}.mp4" for number in range(clips.num_clips)]
    distinct = paths[: clips.num_distinct]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(_encode, clips), distinct, range(len(distinct))))
    for number, path in enumerate(paths[clips.num_distinct :]):
        shutil.copyfile(distinct[number % len(distinct)], path)
    return paths


def _encode(clips: ClipSet, path: Path, seed: int) -> None:
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=clips.fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = clips.width, clips.height, "yuv420p"
        stream.bit_rate = clips.kilobits * 1000
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(pictures(clips, seed)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, clips.fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def pictures(clips: ClipSet, seed: int) -> Iterator[NDArray[np.uint8]]:
    """A camera that pans over a large texture, two boxes that cross it, and the grain of a sensor."""
    rng = np.random.default_rng(seed)
    height, width = clips.height, clips.width
    rows, columns = (2 * side // _BLOCK_PX for side in (height, width))
    blocks = rng.normal(size=(rows, columns, 3)).cumsum(0).cumsum(1)
    blocks = 20 + 200 * (blocks - blocks.min()) / np.ptp(blocks)
    texture = blocks.astype(np.uint8).repeat(_BLOCK_PX, 0).repeat(_BLOCK_PX, 1)
    grains = rng.integers(0, 12, (4, height, width, 1), np.uint8)
    for index in range(clips.num_frames):
        time = 0.0 if clips.is_still else index / clips.fps
        top, left = round(height * (0.4 + 0.4 * np.sin(0.7 * time))), round(width * (0.4 + 0.4 * np.cos(0.5 * time)))
        picture = texture[top : top + height, left : left + width] + grains[0 if clips.is_still else index % 4]
        for box in range(2):
            x = round(width * (0.4 + 0.3 * np.sin((1.5 + box) * time + seed)))
            y = round(height * (0.4 + 0.3 * np.cos((2.0 - box) * time)))
            picture[y : y + height // 5, x : x + width // 5] = (60 + 120 * box, 200 - 90 * box, 40 + 20 * (seed % 8))
        yield picture

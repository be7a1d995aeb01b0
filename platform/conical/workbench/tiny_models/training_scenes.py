"""Scenes as training data of the tiny models: rendered straight to small frames, without a video file between."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from conical.core.seeds import generator
from conical.datasets.scenes.render import render_frames
from conical.datasets.scenes.truth import SceneTruth, draw_truth
from conical.video.sampling import uniform

IMAGE_PX = 64
NUM_FRAMES = 8  # what Video-LLaVA was made for
_SPLIT = "tiny-models"  # a name of its own: these scenes are in no dataset that `generate_scenes` writes


@dataclass(frozen=True, kw_only=True)
class RenderedScenes:
    """Small frames of many scenes with their truths.

    Args:
        frames: uint8, (num_scenes, num_frames, size, size, 3), RGB.
        times: float32, (num_scenes, num_frames), 0 to 1.
    """

    frames: NDArray[np.uint8]
    times: NDArray[np.float32]
    truths: tuple[SceneTruth, ...]

    def __post_init__(self) -> None:
        assert self.frames.shape[:2] == self.times.shape, (self.frames.shape, self.times.shape)
        assert len(self.truths) == len(self.frames), (len(self.truths), self.frames.shape)

    def __repr__(self) -> str:
        return f"RenderedScenes(frames={self.frames.shape})"


def render_scenes(
    seed: int,
    num_scenes: int,
    *,
    num_processes: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> RenderedScenes:
    """Render scenes as ingest would hand them over: uniform frames, short side resized, centre cropped.

    Args:
        seed: of the scenes; the result is a pure function of `seed` and `num_scenes`.
        num_scenes: >= 1.
        num_processes: >= 1.
        report: called as `report(done, total)`.
    """
    truths = tuple(draw_truth(seed, _SPLIT, index) for index in range(num_scenes))
    frames = np.empty((num_scenes, NUM_FRAMES, IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
    with ProcessPoolExecutor(num_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for index, small in enumerate(pool.map(_render_one, truths, repeat(seed), range(num_scenes), chunksize=32)):
            frames[index] = small
            if report:
                report(index + 1, num_scenes)
    times = np.array(
        [np.array(_uniform_indices(truth)) / (truth.encoding.num_frames - 1) for truth in truths], dtype=np.float32
    )
    return RenderedScenes(frames=frames, times=times, truths=truths)


def _uniform_indices(truth: SceneTruth) -> tuple[int, ...]:
    return uniform(truth.encoding.num_frames, NUM_FRAMES)


def _render_one(truth: SceneTruth, seed: int, index: int) -> NDArray[np.uint8]:
    rng = generator(seed, _SPLIT, index, "noise")
    quality = int(rng.integers(60, 96))
    filter_number = int(rng.integers(3))
    pixels = render_frames(truth, _uniform_indices(truth))
    return np.stack([_shrink(frame, quality=quality, filter_number=filter_number) for frame in pixels])


def _shrink(frame: NDArray[np.uint8], *, quality: int, filter_number: int) -> NDArray[np.uint8]:
    """One frame after lossy coding, resize of the short side and centre crop."""
    from PIL import Image

    # JPEG halves the chroma and quantises blocks, as H.264 does; the filter differs between resizers
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=quality)
    image: Image.Image = Image.open(buffer)
    scale = IMAGE_PX / min(image.size)
    size = (max(IMAGE_PX, round(image.width * scale)), max(IMAGE_PX, round(image.height * scale)))
    filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX)
    image = image.resize(size, filters[filter_number])
    left, top = (image.width - IMAGE_PX) // 2, (image.height - IMAGE_PX) // 2
    return np.asarray(image.crop((left, top, left + IMAGE_PX, top + IMAGE_PX)))

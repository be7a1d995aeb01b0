"""How fast batches come out of the frame store, beside a copy of the same bytes.

Stored frames of both codecs are read three ways: from the memory map, by threads that decode batches ahead, and by a
plain loop that decodes one clip after the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conical.captioning.mix import HUMAN, PromptMix
from conical.core.records import SampledFrames
from conical.engine.batches import Batch, BatchPlan, TrainingSet
from conical.engine.stored_frames import Frames
from conical.store import FrameRow, FrameStore
from conical.store.parts import list_parts
from conical.video import FrameRecipe
from conical.video.augment import AugmentOptions
from conical.video.transform import rotate_and_flip
from conical.workbench.bench.harness import markdown_table
from conical.workbench.bench.sample_clips import ClipSet, pictures

_NUM_DISTINCT = 8
_REPEATS = 3
# so many batches are enough for what takes long
_NUM_SLOW_BATCHES = 3

_LIMIT, _NEW = "memory copy into a buffer that is used again (the limit)", "memory copy into new memory"
_WARM, _COLD = "shuffled batches, map in the page cache", "shuffled batches, first epoch after the cache was dropped"
_AUGMENTED = "shuffled batches with their augmented copies"
_AHEAD = {codec: f"shuffled batches, stored {codec} decoded ahead" for codec in ("jpeg", "raw")}
_LOOP = {codec: f"stored {codec}, one clip after the other in a plain loop" for codec in ("jpeg", "raw")}


def bench_input(folder: Path, *, num_videos: int = 400, batch_size: int = 32, size: int = 224) -> dict[str, Any]:
    """Batches/s of each way from disk to a training step, in this one run.

    Args:
        folder: for stores and the map; should be empty, and on the disk that training reads.
        num_videos: clips of 10 frames.
        batch_size: rows of a batch.
        size: side of a frame in px.

    Returns:
        Batches/s and GB/s of each, and the ratios.
    """
    raw = FrameRecipe(num_frames=10, size=size)
    stores = {codec: _fill(folder / codec, replace(raw, codec=codec), num_videos) for codec in ("raw", "jpeg")}
    ids = sorted(stores["raw"].video_ids())
    stores["raw"].memory_map(ids, folder / "cache")
    (path,) = (folder / "cache").glob("*.npy")
    seconds = {
        **_copies(path, batch_size),
        **_from_map(path, batch_size),
        **{_AHEAD[codec]: _decode_ahead(store, ids, batch_size) for codec, store in stores.items()},
        **{_LOOP[codec]: _read(store, ids, batch_size) for codec, store in stores.items()},
    }
    batch_bytes = batch_size * 10 * size * size * 3
    warm = seconds[_WARM]
    return {
        "what": f"{num_videos} clips of 10 frames of {size} px ({path.stat().st_size / 1e6:,.0f} MB), batches of "
        f"{batch_size} ({batch_bytes / 1e6:,.0f} MB)",
        "num_threads": torch.get_num_threads(),
        "num_cores": os.cpu_count(),
        "megabytes_on_disk": {"map": path.stat().st_size / 1e6, **{codec: _size_mb(stores[codec]) for codec in stores}},
        "batches_per_second": {name: 1 / value for name, value in seconds.items()},
        "gigabytes_per_second": {name: batch_bytes / 1e9 / value for name, value in seconds.items()},
        "ratios": {
            "shuffled batches to the limit": seconds[_LIMIT] / warm,
            "shuffled batches to a copy into new memory": seconds[_NEW] / warm,
            **{
                f"{codec} decoded ahead to {other}": seconds[than] / seconds[_AHEAD[codec]]
                for codec in stores
                for other, than in (("the plain loop", _LOOP[codec]), ("the map", _WARM))
            },
            "time of a batch with its augmented copy to the batch alone": seconds[_AUGMENTED] / warm,
        },
    }


def input_page(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    rates, bytes_rates = result["batches_per_second"], result["gigabytes_per_second"]
    rows = [[name, f"{rates[name]:.1f}", f"{bytes_rates[name]:.2f}"] for name in rates]
    ratios = "\n".join(f"- {what}: {value:.2f}" for what, value in result["ratios"].items())
    sizes = ", ".join(f"{name} {size:,.0f} MB" for name, size in result["megabytes_on_disk"].items())
    head = f"{result['what']}; {result['num_threads']} threads, {result['num_cores']} cores. On disk: {sizes}."
    return "\n\n".join([head, markdown_table(["", "batches/s", "GB/s"], rows), ratios]) + "\n"


def _fill(path: Path, recipe: FrameRecipe, num_videos: int) -> FrameStore:
    """A store of moving pictures; clips that repeat are shifted, so that no two are equal."""
    store = FrameStore(path, recipe=asdict(recipe), recipe_hash=recipe.hash)
    kind = ClipSet(name="", width=recipe.size, height=recipe.size, num_seconds=10, fps=1)
    distinct = [np.stack(list(pictures(kind, seed))) for seed in range(min(_NUM_DISTINCT, num_videos))]
    indices = tuple(range(recipe.num_frames))
    for first in range(0, num_videos, 16):
        rows = []
        for number in range(first, min(first + 16, num_videos)):
            frames = np.roll(distinct[number % len(distinct)], number, axis=2)
            times = tuple(map(float, indices))
            sampled = SampledFrames(frames=frames, frame_indices=indices, pts_seconds=times, decoder="none")
            rows.append(FrameRow(video_id=f"{number:05d}", fingerprint="", sampled=sampled))
        store.write_part(f"{first:05d}", rows)
    return store


def _copies(path: Path, batch_size: int) -> dict[str, float]:
    """Seconds a batch of what no loader can beat: the same bytes in order, from memory to memory."""
    frames = np.load(path)
    target = np.zeros((batch_size, *frames.shape[1:]), np.uint8)
    starts = range(0, len(frames) - batch_size + 1, batch_size)

    def copy_into_target() -> None:
        for start in starts:
            np.copyto(target, frames[start : start + batch_size])

    return {
        _LIMIT: _best(copy_into_target, len(starts)),
        _NEW: _best(lambda: [frames[start : start + batch_size].copy() for start in starts], len(starts)),
    }


def _from_map(path: Path, batch_size: int) -> dict[str, float]:
    """Seconds a batch as the training loop gets them, shuffled."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        # the system drops what nobody maps
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    frames = np.load(path, mmap_mode="r")
    plan = _plan(frames, batch_size)
    started = time.perf_counter()
    _use_up(plan.batches(1))
    cold = (time.perf_counter() - started) / plan.steps_per_epoch
    return {
        _WARM: _best(lambda: _use_up(plan.batches(1)), plan.steps_per_epoch),
        _COLD: cold,
        _AUGMENTED: _best(lambda: _augment(plan), _NUM_SLOW_BATCHES),
    }


def _decode_ahead(store: FrameStore, ids: Sequence[str], batch_size: int) -> float:
    """Seconds a batch as the training loop gets them, shuffled, without a map."""
    plan = _plan(store.decoded(ids), batch_size)
    return _best(lambda: _use_up(plan.batches(1)), plan.steps_per_epoch, repeats=1)


def _plan(frames: Frames, batch_size: int) -> BatchPlan:
    data = TrainingSet(frames=frames, texts=[{HUMAN: (("a caption",),)}] * len(frames))
    return BatchPlan(data=data, mix=PromptMix(), augment=AugmentOptions(), batch_size=batch_size)


def _size_mb(store: FrameStore) -> float:
    return sum(part.stat().st_size for part in list_parts(store.path, "part")) / 1e6


def _best(work: Callable[[], object], num_batches: int, *, repeats: int = _REPEATS) -> float:
    """Seconds a batch of the fastest of some calls; one more before them fills the page cache."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times[1:]) / num_batches


def _use_up(batches: Iterable[Batch]) -> None:
    for batch in batches:
        assert len(batch.frames)


def _augment(plan: BatchPlan) -> None:
    for _, batch in zip(range(_NUM_SLOW_BATCHES), plan.batches(1), strict=False):
        rotate_and_flip(batch.frames, degrees=batch.degrees, flip=batch.flip)


def _read(store: FrameStore, ids: Sequence[str], batch_size: int) -> float:
    """Seconds a batch in a plain loop: each row out of its Parquet part, and decoded."""
    order = np.random.default_rng(0).permutation(len(ids))[: batch_size * _NUM_SLOW_BATCHES]

    def work() -> None:
        for start in range(0, len(order), batch_size):
            np.stack([store.read(ids[row]).frames for row in order[start : start + batch_size]])

    return _best(work, -(-len(order) // batch_size), repeats=1)

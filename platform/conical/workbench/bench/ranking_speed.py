"""How long ranks take, against the usual argsort recipe and the matrix product alone; each in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch

from conical.metrics import bootstrap_intervals, rank_both_directions, rank_embeddings
from conical.metrics.tiles import TILE

DIM = 512
# the argsort recipe holds the matrix twice and an integer a score: 6 GB at 20,000
_LARGEST_FOR_ARGSORT = 20_000


def bench_metrics(sizes: tuple[int, ...] = (10_000, 100_000)) -> dict[str, Any]:
    """Seconds and peak memory of ranking `size` texts and `size` videos of 512 numbers, both directions.

    Args:
        sizes: numbers of texts, and of videos.

    Returns:
        For each size the seconds of each way, its peak memory (of a process that does nothing else, with torch loaded
        and the embeddings in it), and the ratio to the product alone.
    """
    return {
        "what": f"ranks of N texts and N videos, {DIM}-d float32, {torch.get_num_threads()} threads",
        "sizes": {str(size): _bench_size(size) for size in sizes},
    }


def _bench_size(size: int) -> dict[str, Any]:
    repeats = 3 if size <= _LARGEST_FOR_ARGSORT else 1
    ways = ["product_alone", "ranks_t2v", "ranks_both_directions", "product_alone_again"]
    ways += ["argsort_both_directions"] if size <= _LARGEST_FOR_ARGSORT else []
    ways += ["intervals_both_directions", "embeddings_alone"]
    found = {way: _in_own_process(way, size, repeats) for way in ways}
    seconds = {way: value for way, (value, _) in found.items() if way != "embeddings_alone"}
    # the same work before and after, since a machine is seldom equally quiet for minutes
    limit = min(seconds["product_alone"], seconds.pop("product_alone_again"))
    ratios = {way: value / limit for way, value in seconds.items() if way.startswith(("ranks", "argsort"))}
    return {
        "seconds": seconds | {"product_alone": limit},
        "gflop_per_second": 2 * size * size * DIM / limit / 1e9,
        "ratio_to_product_alone": ratios,
        "peak_memory_mb": {way: peak / 1e6 for way, (_, peak) in found.items()},
    }


def _in_own_process(way: str, size: int, repeats: int) -> tuple[float, int]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, way, size, repeats, torch.get_num_threads()).result()


def _measure(way: str, size: int, repeats: int, threads: int) -> tuple[float, int]:
    """Seconds of the fastest call, and the peak memory of this process in bytes."""
    torch.set_num_threads(threads)
    text, video = make_embeddings(size)
    work = _WAYS[way]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work(text, video)
        times.append(time.perf_counter() - started)
    return min(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_embeddings(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors; each text is nearer to its own video than chance, and the ranks spread over the gallery."""
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(size, DIM, generator=generator)
    video /= video.norm(dim=1, keepdim=True)
    text = torch.randn(size, DIM, generator=generator).mul_(0.25).add_(video)
    text /= text.norm(dim=1, keepdim=True)
    return text, video


def _product(text: torch.Tensor, video: torch.Tensor) -> None:
    """All scores, each tile overwriting the one before."""
    for left in text.split(TILE):
        scores = torch.empty(len(left), TILE)
        for right in video.split(TILE):
            if len(right) < TILE:
                scores = torch.empty(len(left), len(right))
            torch.mm(left, right.T, out=scores)


def argsort_ranks(text: torch.Tensor, video: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The recipe of many code bases: the whole matrix, each row sorted, the place of the right column looked up."""
    scores = (text @ video.T).numpy()
    own = np.arange(len(scores))[:, None]
    t2v = np.where(np.argsort(-scores, axis=1) == own)[1] + 1
    v2t = np.where(np.argsort(-scores.T, axis=1) == own)[1] + 1
    return t2v, v2t


def _intervals(text: torch.Tensor, video: torch.Tensor) -> None:
    """The bootstrap of both directions alone; the ranks it resamples are made up."""
    ranks = np.random.default_rng(0).geometric(0.2, size=len(text))
    for _ in range(2):
        bootstrap_intervals(ranks)
    assert len(video) == len(text)


_WAYS: dict[str, Callable[[torch.Tensor, torch.Tensor], object]] = {
    "embeddings_alone": lambda *_: None,
    "product_alone": _product,
    "product_alone_again": _product,
    "ranks_t2v": rank_embeddings,
    "ranks_both_directions": rank_both_directions,
    "argsort_both_directions": argsort_ranks,
    "intervals_both_directions": _intervals,
}

"""Metrics of resampled queries.

Queries of one video are not independent, so whole groups of queries are resampled (a cluster bootstrap). Resamples are
drawn once as counts per group; every metric is then a weighted mean or a weighted median of the same per-query values,
which takes a matrix product instead of a loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice
from conical.core.seeds import generator
from conical.metrics.names import METRICS
from conical.metrics.ranking import Ranking

# weights of this many (resample, query) pairs are held at once: 32 MB
_BLOCK_CELLS = 4_000_000

Ranks: TypeAlias = Ranking | Sequence[Ranking] | NDArray[Any]


def resampled(
    tables: Mapping[str, NDArray[np.float64]],
    *,
    groups: NDArray[Any] | None,
    num_resamples: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Metrics of the same resamples of the queries.

    Args:
        tables: metric to (row, query) values of `per_query`; a row is a system or a seed of one.
        groups: (query,) any labels; queries that share one are resampled together. None: each on its own.
        num_resamples: at least 1.
        seed: the same seed and number of groups give the same resamples.

    Returns:
        Metric to (resample, row).

    Raises:
        ValueError: a shape or number is wrong.
    """
    num_queries = next(iter(tables.values())).shape[1]
    labels, num_groups = _group_labels(groups, num_queries)
    blocks: dict[str, list[NDArray[np.float64]]] = {metric: [] for metric in tables}
    for counts in _resampled_counts(num_groups, num_queries, num_resamples=num_resamples, seed=seed):
        weights = counts[:, labels]
        for metric, table in tables.items():
            blocks[metric].append(_statistic(table, weights, metric=metric))
    return {metric: np.concatenate(parts) for metric, parts in blocks.items()}


def per_query(ranks: Ranks, metric: str) -> NDArray[np.float64]:
    """What a metric is the mean (or, for MedR, the median) of.

    Args:
        ranks: (query,) or (seed, query) ranks from 1, or one `Ranking` or one per seed.
        metric: one of `METRICS`.

    Returns:
        (seed, query): 0 to 100 for a recall, ranks otherwise; one seed if none were given.

    Raises:
        ValueError: not ranks, or no such metric.
    """
    require_choice("metric", metric, METRICS)
    is_recall = metric.startswith("R")
    if isinstance(ranks, Ranking):
        return (100 * ranks.hits(int(metric[1:])) if is_recall else ranks.values())[None, :]
    if _are_rankings(ranks):
        counts = sorted({len(ranking) for ranking in ranks})
        require(
            len(counts) == 1,
            f"rankings of several seeds must be of the same queries, got {counts} queries: rank them all",
        )
        return np.concatenate([per_query(ranking, metric) for ranking in ranks])
    table = np.atleast_2d(np.asarray(ranks, dtype=np.float64))
    require(
        table.ndim == 2 and table.size > 0,
        f"ranks must be (query,) or (seed, query) and not empty, got shape {table.shape}",
    )
    require(bool((table >= 1).all()), f"ranks must be >= 1, got {table.min()}: they count from 1")
    return np.where(table <= int(metric[1:]), 100.0, 0.0) if is_recall else table


def point_value(ranks: Ranks, metric: str) -> float:
    """The metric itself, as a mean over seeds where there are several; arguments as for `per_query`."""
    return float(by_row(per_query(ranks, metric), metric).mean())


def by_row(table: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """The metric of each row of `per_query` values, (row,)."""
    return cast(NDArray[np.float64], np.median(table, axis=1) if metric == "MedR" else table.mean(axis=1))


def _are_rankings(ranks: Ranks) -> TypeGuard[Sequence[Ranking]]:
    return isinstance(ranks, Sequence) and len(ranks) > 0 and all(isinstance(one, Ranking) for one in ranks)


def _group_labels(groups: NDArray[Any] | None, num_queries: int) -> tuple[NDArray[np.int64], int]:
    if groups is None:
        return np.arange(num_queries), num_queries
    require(
        np.shape(groups) == (num_queries,),
        f"groups must have one label for each of the {num_queries} queries, got shape {np.shape(groups)}",
    )
    names, labels = np.unique(np.asarray(groups), return_inverse=True)
    return labels.astype(np.int64), len(names)


def _resampled_counts(
    num_groups: int, num_queries: int, *, num_resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """How often each group is drawn, (resample, group), in blocks of resamples."""
    require(num_resamples >= 1, f"num_resamples must be >= 1, got {num_resamples}")
    rng = generator(seed, "bootstrap")
    block = max(1, _BLOCK_CELLS // num_queries)
    for first in range(0, num_resamples, block):
        size = min(block, num_resamples - first)
        drawn = rng.integers(num_groups, size=(size, num_groups)) + num_groups * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * num_groups)
        yield counts.reshape(size, num_groups).astype(np.float64)


def _statistic(table: NDArray[np.float64], weights: NDArray[np.float64], *, metric: str) -> NDArray[np.float64]:
    """The metric of each resample and seed, (resample, seed)."""
    if metric == "MedR":
        return np.stack([_weighted_median(values, weights) for values in table], axis=1)
    return cast(NDArray[np.float64], weights @ table.T / weights.sum(axis=1, keepdims=True))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the multiset that holds each value as often as its weight says, a row of weights at a time."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    half = reached[:, -1:] / 2
    # where exactly half the weight is reached, the median is the mean of two neighbours, as for any even count
    lower = np.argmax(reached >= half, axis=1)
    upper = np.argmax(reached > half, axis=1)
    return cast(NDArray[np.float64], (values[order][lower] + values[order][upper]) / 2)

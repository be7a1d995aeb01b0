"""How sure a metric is, and whether two systems differ, by resampling the queries.

Queries of one video are not independent, so whole groups of queries are resampled (a cluster bootstrap). Resamples are
drawn once as counts per group; every metric is then a weighted mean or a weighted median of the same per-query values,
which takes a matrix product instead of a loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice
from conical.core.seeds import generator
from conical.metrics.names import METRICS, higher_is_better
from conical.metrics.paired import NO_DIFFERENCE, Comparison
from conical.metrics.ranking import Ranking

# weights of this many (resample, query) pairs are held at once: 32 MB
_BLOCK_CELLS = 4_000_000

Ranks: TypeAlias = Ranking | Sequence[Ranking] | NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a value lies, `low <= high`, in the unit of the value."""

    low: float
    high: float

    def __post_init__(self) -> None:
        assert self.low <= self.high, (self.low, self.high)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def bootstrap_intervals(
    ranks: Ranks,
    *,
    metrics: Sequence[str] = METRICS,
    groups: NDArray[Any] | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals over resampled queries.

    Args:
        ranks: (query,) or (seed, query) ranks from 1, or one `Ranking` or one per seed, whose ties then count by their
            probability.
        metrics: which of `METRICS`.
        groups: (query,) any labels; queries that share one are resampled together. None: each on its own.
        num_resamples: at least 1.
        confidence: in (0, 1).
        seed: the same seed and number of groups give the same resamples.

    Returns:
        Metric to interval.

    Raises:
        ValueError: a shape, metric or number is wrong.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13; groups: Davison and Hinkley
    1997, "Bootstrap Methods and their Application", section 3.8.

    >>> bootstrap_intervals(np.array([1.0, 1.0, 1.0]), metrics=("R1",))
    {'R1': Interval(low=100.0, high=100.0)}
    """
    tables = {metric: per_query(ranks, metric) for metric in metrics}
    num_queries = per_query(ranks, "MeanR").shape[1]
    labels, num_groups = _group_labels(groups, num_queries)
    blocks: dict[str, list[NDArray[np.float64]]] = {metric: [] for metric in metrics}
    for counts in _resampled_counts(num_groups, num_queries, num_resamples=num_resamples, seed=seed):
        weights = counts[:, labels]
        for metric, table in tables.items():
            blocks[metric].append(_statistic(table, weights, metric=metric).mean(axis=1))
    return {metric: _percentiles(np.concatenate(parts), confidence) for metric, parts in blocks.items()}


def compare(
    ranks_a: Ranks,
    ranks_b: Ranks,
    *,
    metric: str = "R1",
    groups: NDArray[Any] | None = None,
    resample_seeds: bool = False,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Paired bootstrap of the difference between two systems on the same queries.

    Each resample takes the same queries from both. With several seeds a system's metric is the mean over its seeds; by
    default only queries are resampled, so the interval speaks about new queries for exactly these trainings. With
    `resample_seeds` pairs of trainings are drawn as well, so that it covers another training too (few seeds make this
    rough; `seed_differences` shows the raw spread).

    Args:
        ranks_a: (query,) or (seed, query) ranks from 1, or one `Ranking` or one per seed, whose ties then count by
            their probability.
        ranks_b: the same queries in the same order, the same number of seeds.
        metric: one of `METRICS`.
        groups: (query,) any labels; queries that share one are resampled together.
        resample_seeds: draw seeds with replacement too.
        num_resamples: at least 1.
        confidence: in (0, 1).

    Returns:
        Difference a - b, its interval and the verdict.

    Raises:
        ValueError: shapes differ, or a metric or number is wrong.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13, on paired differences.

    >>> compare(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4])).verdict
    'no significant difference'
    """
    a, b = per_query(ranks_a, metric), per_query(ranks_b, metric)
    require(
        a.shape == b.shape,
        f"paired ranks must have the same (seed, query) shape, got {a.shape} and {b.shape}: rank the same queries, "
        "with as many seeds",
    )
    num_seeds, num_queries = a.shape
    labels, num_groups = _group_labels(groups, num_queries)
    draws = []
    rng = generator(seed, "bootstrap", "seeds")
    for counts in _resampled_counts(num_groups, num_queries, num_resamples=num_resamples, seed=seed):
        weights = counts[:, labels]
        by_seed = _statistic(a, weights, metric=metric) - _statistic(b, weights, metric=metric)
        share = np.full((len(counts), num_seeds), 1 / num_seeds)
        if resample_seeds:
            share = rng.multinomial(num_seeds, share[0], size=len(counts)) / num_seeds
        draws.append((by_seed * share).sum(axis=1))
    interval = _percentiles(np.concatenate(draws), confidence)
    return _judge(a, b, metric=metric, interval=interval)


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
    return float(_by_seed(per_query(ranks, metric), metric).mean())


def _by_seed(table: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    return cast(NDArray[np.float64], np.median(table, axis=1) if metric == "MedR" else table.mean(axis=1))


def _judge(a: NDArray[np.float64], b: NDArray[np.float64], *, metric: str, interval: Interval) -> Comparison:
    by_seed = _by_seed(a, metric) - _by_seed(b, metric)
    sign = 1.0 if higher_is_better(metric) else -1.0
    advantage = sign * (a.mean(axis=0) - b.mean(axis=0))
    if 0.0 in interval:
        verdict = NO_DIFFERENCE
    elif sign * interval.low > 0:
        verdict = "a is better"
    else:
        verdict = "b is better"
    return Comparison(
        metric=metric,
        difference=float(by_seed.mean()),
        low=interval.low,
        high=interval.high,
        verdict=verdict,
        wins=int((advantage > 0).sum()),
        losses=int((advantage < 0).sum()),
        draws=int((advantage == 0).sum()),
        seed_differences=tuple(by_seed.tolist()),
    )


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


def _percentiles(draws: NDArray[np.float64], confidence: float) -> Interval:
    require(0 < confidence < 1, f"confidence must be between 0 and 1, got {confidence}: 0.95 is usual")
    # sums in floating point must not push an exact zero to one side: a verdict hangs on it
    low, high = np.quantile(draws.round(9), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(low=float(low), high=float(high))

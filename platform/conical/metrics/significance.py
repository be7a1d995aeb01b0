"""How sure a metric is, whether two systems differ, and which might as well be the best.

Queries are resampled (`conical.metrics.resampling`). What one training says about another training is not in the
queries: with two or more seeds the spread of the seeds is added, with one it stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.names import METRICS, higher_is_better
from conical.metrics.paired import NO_DIFFERENCE, Comparison
from conical.metrics.resampling import Ranks, by_row, per_query, resampled


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
    draws = resampled(tables, groups=groups, num_resamples=num_resamples, seed=seed)
    return {metric: _percentiles(drawn.mean(axis=1), confidence) for metric, drawn in draws.items()}


def compare(
    ranks_a: Ranks,
    ranks_b: Ranks,
    *,
    metric: str = "R1",
    groups: NDArray[Any] | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """The difference between two systems on the same queries, which each resample takes from both.

    With one seed the interval is the bootstrap's percentiles: it speaks about new queries for exactly these trainings.
    With several, a system's metric is the mean over its S seeds, and the interval speaks about new trainings too:

        difference +- t(df) sqrt(C + (v_a + v_b) / S)        df = (S - 1) (v_a + v_b)^2 / (v_a^2 + v_b^2)

    v_a and v_b are the variances of the metric over seeds, which hold what each training makes of the queries; C is
    what the queries do to all seeds alike. With V the bootstrap's variance of the mean difference and V_1 that of one
    seed's on average, V = C + N / S and V_1 = C + N give C = (S V - V_1) / (S - 1), at least 0. The degrees of freedom
    are Welch's, of the seeds alone: they are the few, and C, which is well known, can only make the quotient safer. The
    seeds of two systems are taken as independent; where they go up and down together, the interval is wider than need
    be. How often equal systems are called different: `docs/benchmarks/false_claims.md`.

    Args:
        ranks_a: (query,) or (seed, query) ranks from 1, or one `Ranking` or one per seed, whose ties then count by
            their probability.
        ranks_b: the same queries in the same order, the same number of seeds.
        metric: one of `METRICS`.
        groups: (query,) any labels; queries that share one are resampled together.
        num_resamples: at least 1.
        confidence: in (0, 1).

    Returns:
        Difference a - b, its interval and the verdict.

    Raises:
        ValueError: shapes differ, or a metric or number is wrong.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13, on paired differences; Welch
    1947, "The generalization of 'Student's' problem", Biometrika 34.

    >>> compare(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4])).verdict
    'no significant difference'
    """
    a, b = per_query(ranks_a, metric), per_query(ranks_b, metric)
    require(
        a.shape == b.shape,
        f"paired ranks must have the same (seed, query) shape, got {a.shape} and {b.shape}: rank the same queries, "
        "with as many seeds",
    )
    rows = resampled({metric: np.concatenate([a, b])}, groups=groups, num_resamples=num_resamples, seed=seed)[metric]
    draws = rows[:, : len(a)] - rows[:, len(a) :]
    interval = _percentiles(draws.mean(axis=1), confidence)
    if len(a) > 1:
        bound = 100.0 if metric.startswith("R") else math.inf
        interval = _over_seeds(by_row(a, metric), by_row(b, metric), draws, confidence=confidence, bound=bound)
    return _judge(a, b, metric=metric, interval=interval)


def worse_than_best(
    ranks: Sequence[Ranks],
    *,
    metric: str = "R1",
    groups: NDArray[Any] | None = None,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Which of several systems are significantly worse than the best of them, on the same queries.

    The best is chosen by the values that are tested, so it stands where chance helped it most. All pairs are therefore
    judged at once: how far the resampled metrics of equal systems lie apart, from the best to the worst, gives the
    bound that a difference to the best has to pass. Differences are not divided by their spread: estimated from the
    same queries for each of many pairs, it is now and then far too small (in simulation, 24 equal trials were then told
    apart in 9.5 % of sweeps). It speaks about other queries for exactly these trainings.

    Args:
        ranks: per system (query,) ranks from 1 or a `Ranking`; the same queries in the same order.
        metric: one of `METRICS`.
        groups: (query,) any labels; queries that share one are resampled together.
        num_resamples: at least 1.
        confidence: in (0, 1): the chance that no equal system is called worse.

    Returns:
        (system,) booleans; false for the best.

    Raises:
        ValueError: shapes differ, or a metric or number is wrong.

    Source: Tukey's honest significant difference, with the bootstrap in place of the tables of the range; Hsu 1996,
    "Multiple Comparisons: Theory and Methods", chapters 4 and 5.

    >>> worse_than_best([np.tile([1, 2], 50), np.tile([1, 2], 50), np.full(100, 2)]).tolist()
    [False, False, True]
    """
    table = np.concatenate([per_query(one, metric) for one in ranks])
    values = by_row(table, metric)
    rows = resampled({metric: table}, groups=groups, num_resamples=num_resamples, seed=seed)[metric]
    centred = rows - rows.mean(axis=0)
    bound = np.quantile(np.ptp(centred, axis=1), confidence)
    best = int(np.argmax(values if higher_is_better(metric) else -values))
    return np.asarray(np.abs(values - values[best]) > bound + _NOTHING)


# below this, in points or ranks, a difference is rounding
_NOTHING = 1e-9


def _over_seeds(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    draws: NDArray[np.float64],
    *,
    confidence: float,
    bound: float,
) -> Interval:
    """The interval of `compare` for (seed,) metrics of each system.

    Args:
        draws: (resample, seed) differences over resampled queries.
        bound: the difference lies in [-bound, bound].
    """
    from scipy.special import stdtrit  # a quarter of a second, which one seed does not need

    num_seeds = len(a)
    of_a, of_b = a.var(ddof=1), b.var(ddof=1)
    squares = of_a**2 + of_b**2
    freedom = (num_seeds - 1) * ((of_a + of_b) ** 2 / squares if squares > 0 else 1.0)
    common = max(0.0, (num_seeds * draws.mean(axis=1).var() - draws.var(axis=0).mean()) / (num_seeds - 1))
    half = stdtrit(freedom, (1 + confidence) / 2) * math.sqrt(common + (of_a + of_b) / num_seeds)
    middle = float((a - b).mean())
    low, high = (round(min(max(end, -bound), bound), 9) for end in (middle - half, middle + half))
    return Interval(low=low + 0.0, high=high + 0.0)


def _judge(a: NDArray[np.float64], b: NDArray[np.float64], *, metric: str, interval: Interval) -> Comparison:
    by_seed = by_row(a, metric) - by_row(b, metric)
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


def _percentiles(draws: NDArray[np.float64], confidence: float) -> Interval:
    require(0 < confidence < 1, f"confidence must be between 0 and 1, got {confidence}: 0.95 is usual")
    # sums in floating point must not push an exact zero to one side: a verdict hangs on it
    low, high = np.quantile(draws.round(9), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(low=float(low), high=float(high))

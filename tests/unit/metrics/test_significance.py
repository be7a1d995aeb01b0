"""Intervals and paired comparison against slow loops and against what must hold."""

from __future__ import annotations

import numpy as np
import pytest

from conical.core.seeds import generator
from conical.metrics import Interval, bootstrap_intervals, compare, rank_queries, worse_than_best
from conical.metrics.resampling import per_query

RANKS = np.array([1, 1, 2, 4, 7, 11, 3, 1, 20, 6, 5, 1], dtype=float)
GROUPS = np.array(["a", "a", "b", "c", "c", "c", "d", "e", "e", "f", "g", "a"])


def slow_intervals(metric: str, groups: np.ndarray, num_resamples: int) -> tuple[float, float]:
    """Draw groups, take their queries one by one, compute the metric: no counts, no weights."""
    rng = generator(0, "bootstrap")
    names = sorted(set(groups))
    values = []
    for drawn in rng.integers(len(names), size=(num_resamples, len(names))):
        sample = np.concatenate([RANKS[groups == names[number]] for number in drawn])
        if metric == "MedR":
            values.append(np.median(sample))
        elif metric == "MeanR":
            values.append(np.mean(sample))
        else:
            values.append(100 * np.mean(sample <= int(metric[1:])))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("metric", ["R1", "R5", "R10", "MedR", "MeanR"])
@pytest.mark.parametrize("groups", [GROUPS, np.arange(12)], ids=["groups", "single"])
def test_intervals_equal_a_loop_over_resamples(metric: str, groups: np.ndarray) -> None:
    interval = bootstrap_intervals(RANKS, metrics=(metric,), groups=groups, num_resamples=300)[metric]
    low, high = slow_intervals(metric, groups, 300)
    assert interval.low == pytest.approx(low)
    assert interval.high == pytest.approx(high)


def test_single_queries_need_no_labels() -> None:
    assert bootstrap_intervals(RANKS) == bootstrap_intervals(RANKS, groups=np.arange(12))


def test_blocks_of_resamples_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_intervals(RANKS, groups=GROUPS, num_resamples=100)
    monkeypatch.setattr("conical.metrics.resampling._BLOCK_CELLS", 12 * 7)
    assert bootstrap_intervals(RANKS, groups=GROUPS, num_resamples=100) == whole


def test_the_interval_of_a_proportion_has_the_width_of_the_binomial() -> None:
    # 1,000 queries at R@1 = 45 %: standard error 100 sqrt(0.45 0.55 / 1000) = 1.573 points, so +- 3.08
    ranks = np.where(np.arange(1000) < 450, 1, 2)
    interval = bootstrap_intervals(ranks, metrics=("R1",), num_resamples=4000)["R1"]
    assert interval.low == pytest.approx(45 - 3.08, abs=0.3)
    assert interval.high == pytest.approx(45 + 3.08, abs=0.3)


def test_a_ranking_counts_ties_by_their_probability() -> None:
    ranking = rank_queries(np.zeros((4, 4)))
    assert per_query(ranking, "R1").tolist() == [[25.0] * 4]
    # as plain numbers the expected ranks of 2.5 are never in first place
    assert per_query(ranking.values(), "R1").tolist() == [[0.0] * 4]


def test_comparing_a_system_with_itself_finds_nothing() -> None:
    result = compare(RANKS, RANKS)
    assert (result.difference, result.low, result.high) == (0, 0, 0)
    assert (result.verdict, result.wins, result.losses, result.draws) == ("no significant difference", 0, 0, 12)


def test_swapping_the_systems_swaps_the_verdict() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.integers(1, 4, size=500), rng.integers(1, 9, size=500)
    forth, back = compare(good, bad), compare(bad, good)
    assert forth.verdict == "a is better"
    assert back.verdict == "b is better"
    assert forth.difference == -back.difference == pytest.approx(100 * (np.mean(good == 1) - np.mean(bad == 1)))
    assert (forth.wins, forth.losses) == (back.losses, back.wins)
    assert forth.wins + forth.losses + forth.draws == 500


@pytest.mark.parametrize("metric", ["MedR", "MeanR"])
def test_lower_ranks_are_better(metric: str) -> None:
    result = compare(np.tile([1, 2, 3], 100), np.tile([8, 9, 7], 100), metric=metric)
    assert result.difference < 0
    assert result.high < 0
    assert (result.verdict, result.wins) == ("a is better", 300)


def test_pairing_sees_what_separate_intervals_cannot() -> None:
    # a is right on every query that b is right on, and on 20 more of 1,000
    b = np.where(np.arange(1000) < 450, 1, 2)
    a = np.where(np.arange(1000) < 470, 1, 2)
    alone_a, alone_b = (bootstrap_intervals(ranks, metrics=("R1",))["R1"] for ranks in (a, b))
    assert alone_a.low < alone_b.high
    result = compare(a, b)
    assert (result.verdict, result.wins, result.losses) == ("a is better", 20, 0)
    assert result.difference == pytest.approx(2.0)


def test_coin_flips_are_called_different_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        a, b = rng.integers(1, 3, size=(2, 200))
        found += compare(a, b, num_resamples=300).verdict != "no significant difference"
    # 200 tries at 5 %: mean 10, standard deviation 3.1
    assert 2 <= found <= 22


def test_grouped_queries_weigh_as_their_groups() -> None:
    # one video of 50 queries on which a is right and b is wrong is a single piece of evidence
    groups = np.concatenate([np.zeros(50), np.arange(1, 51)]).astype(int)
    a = np.concatenate([np.ones(50), np.full(50, 2)])
    b = np.full(100, 2)
    assert compare(a, b).verdict == "a is better"
    assert compare(a, b, groups=groups).verdict == "no significant difference"


def test_seeds_are_averaged_query_by_query() -> None:
    a = np.array([[1, 1, 2, 2], [1, 2, 2, 1], [1, 1, 1, 1]])
    b = np.array([[1, 2, 2, 2], [2, 2, 2, 1], [2, 2, 1, 1]])
    result = compare(a, b)
    # R@1 a: 50, 50, 100; b: 25, 25, 50
    assert result.seed_differences == (25.0, 25.0, 50.0)
    assert result.difference == pytest.approx(100 / 3)
    # means over seeds: queries 0 and 1 won, 2 and 3 equal (2: 1/3 each; 3: 2/3 each)
    assert (result.wins, result.losses, result.draws) == (2, 0, 2)


def test_rankings_of_several_seeds_are_compared_with_their_ties() -> None:
    # seed 0: one constant score for 4 entries, R@1 25 % a query; seed 1: all right. Against all right and all right
    tied, right = rank_queries(np.zeros((4, 4))), rank_queries(np.eye(4))
    result = compare([tied, right], [right, right])
    assert result.seed_differences == (-75.0, 0.0)
    assert (result.difference, result.losses) == (-37.5, 4)
    # two trainings 75 points apart say little about a third
    assert (result.low, result.high, result.verdict) == (-100.0, 100.0, "no significant difference")
    # expected ranks of 2.5 alone would say that the tied seed never hits
    assert compare([tied.values()], [right.values()]).difference == -100.0
    assert bootstrap_intervals([tied, right], metrics=("R1",))["R1"] == Interval(low=62.5, high=62.5)


def test_rankings_of_different_queries_are_refused() -> None:
    seeds = [rank_queries(np.eye(4)), rank_queries(np.eye(3))]
    with pytest.raises(ValueError, match=r"several seeds must be of the same queries, got \[3, 4\] queries"):
        compare(seeds, seeds)


def test_the_interval_is_wide_when_trainings_disagree() -> None:
    # seed 0 wins everywhere, seed 1 loses everywhere: queries say nothing, trainings all
    a = np.stack([np.ones(50), np.full(50, 2)])
    found = compare(a, 3 - a)
    assert (found.low, found.high) == (-100, 100)
    assert found.verdict == "no significant difference"


def test_the_interval_over_seeds_by_hand() -> None:
    # the queries are one group, which every resample holds whole, so that only seeds vary: R@1 of a is 60, 70, 80 (mean
    # 70, variance 100), of b 20, 20, 50 (mean 30, variance 300). df = 2 (400)^2 / (100^2 + 300^2) = 3.2, and
    # t(3.2) at 0.975 is 3.0731 by numerical integration of its density; sqrt(400 / 3) = 11.547
    def found_of(*shares: int) -> np.ndarray:
        return np.stack([np.where(np.arange(100) < share, 1, 2) for share in shares])

    found = compare(found_of(60, 70, 80), found_of(20, 20, 50), groups=np.zeros(100))
    assert found.difference == pytest.approx(40.0)
    assert (found.low, found.high) == pytest.approx((40 - 35.48, 40 + 35.48), abs=0.05)
    # of two systems one of which never varies the other's seeds alone count: df = 2, t = 4.3027, sqrt(100 / 3)
    found = compare(found_of(60, 70, 80), found_of(40, 40, 40), groups=np.zeros(100))
    assert (found.low, found.high) == pytest.approx((30 - 24.84, 30 + 24.84), abs=0.01)


def test_seeds_that_are_alike_leave_the_interval_of_the_queries() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 3, size=(2, 400))
    one = compare(a, b, num_resamples=4000)
    many = compare(np.stack([a] * 4), np.stack([b] * 4), num_resamples=4000)
    # no training differs from another: the same spread, with the quantile of t(3) in place of the normal's
    assert (many.high - many.low) / (one.high - one.low) == pytest.approx(3.182 / 1.960, rel=0.03)


def test_the_best_of_many_equal_systems_is_better_than_none_of_them() -> None:
    rng = np.random.default_rng(0)
    equal = [rng.integers(1, 3, size=300) for _ in range(20)]
    values = np.array([np.mean(ranks == 1) for ranks in equal])
    best, last = equal[int(values.argmax())], equal[int(values.argmin())]
    # taken out of their midst, the best and the worst look different
    assert compare(best, last).verdict == "a is better"
    assert not worse_than_best(equal).any()


@pytest.mark.parametrize("metric", ["R1", "R5", "R10", "MedR", "MeanR"])
def test_a_system_that_is_clearly_worse_is_said_to_be(metric: str) -> None:
    rng = np.random.default_rng(1)
    good = [rng.integers(1, 12, size=500) for _ in range(3)]
    bad = rng.integers(8, 40, size=500)
    assert worse_than_best([*good, bad], metric=metric).tolist() == [False, False, False, True]


def test_grouped_queries_weigh_as_their_groups_among_many_too() -> None:
    # right on 10 of 100 queries, which are those of 2 of 20 videos
    groups, a, b = np.repeat(np.arange(20), 5), np.where(np.arange(100) < 10, 1, 2), np.full(100, 2)
    assert worse_than_best([a, b]).tolist() == [False, True]
    assert worse_than_best([a, b], groups=groups).tolist() == [False, False]


def test_rounding_of_sums_cannot_make_a_verdict() -> None:
    # of 6 queries: 3 more right in seed 0, 1 and 2 fewer in seeds 1 and 2. The mean is 0, but 50 / 3 - (100 / 6) / 3 -
    # (100 / 3) / 3 misses it by 2e-15, which with one group no resample changes
    def right_on(count: int) -> np.ndarray:
        return np.where(np.arange(6) < count, 1, 2)

    a = np.stack([right_on(3), right_on(0), right_on(0)])
    b = np.stack([right_on(0), right_on(1), right_on(2)])
    assert compare(a, b, groups=np.zeros(6)).verdict == "no significant difference"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranks_b": RANKS[:5]}, r"same \(seed, query\) shape, got \(1, 12\) and \(1, 5\): rank the same queries"),
        ({"ranks_a": np.zeros(12)}, "ranks must be >= 1, got 0.0: they count from 1"),
        ({"ranks_a": np.zeros((1, 2, 3))}, r"ranks must be \(query,\) or \(seed, query\) .* got shape \(1, 2, 3\)"),
        ({"metric": "R2"}, "metric must be one of R1, R5, R10, MedR, MeanR; got 'R2'"),
        ({"groups": np.zeros(3)}, r"groups must have one label for each of the 12 queries, got shape \(3,\)"),
        ({"num_resamples": 0}, "num_resamples must be >= 1, got 0"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1, got 1.0"),
    ],
)
def test_compare_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(**({"ranks_a": RANKS, "ranks_b": RANKS} | arguments))


def test_an_interval_knows_what_it_holds() -> None:
    assert 1.5 in Interval(low=1.0, high=2.0)
    assert 2.5 not in Interval(low=1.0, high=2.0)

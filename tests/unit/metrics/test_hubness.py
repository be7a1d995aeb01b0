from __future__ import annotations

import numpy as np
import pytest

from conical.metrics import k_occurrence, skewness


def slow_counts(similarity: np.ndarray, k: int) -> np.ndarray:
    """Average over many random orders of the columns, in which ties fall one way or the other."""
    rng, rounds = np.random.default_rng(0), 4000
    counts = np.zeros(similarity.shape[1])
    for _ in range(rounds):
        order = rng.permutation(similarity.shape[1])
        for row in similarity:
            counts[order[np.argsort(-row[order], kind="stable")[:k]]] += 1
    return counts / rounds


def test_a_hand_made_hub_is_counted() -> None:
    # first two of each line: {0, 1}, {0, 2}, {0, 3}
    similarity = np.array([[9, 8, 1, 2], [9, 1, 8, 2], [9, 1, 2, 8]], dtype=np.float32)
    assert k_occurrence(similarity, k=2).tolist() == [3, 1, 1, 1]
    # mean 1.5, deviations 1.5, -0.5 (3 times): 3rd moment (3.375 - 0.375) / 4 = 0.75, std^3 = 0.75^1.5
    assert skewness(np.array([3.0, 1, 1, 1])) == pytest.approx(0.75 / 0.75**1.5)


def test_ties_share_the_last_places_as_chance_would() -> None:
    similarity = np.random.default_rng(1).integers(0, 3, (5, 6)).astype(np.float32)
    assert k_occurrence(similarity, k=3) == pytest.approx(slow_counts(similarity, 3), abs=0.15)


def test_the_counts_sum_to_queries_times_k_whatever_the_order_of_the_gallery() -> None:
    similarity = np.random.default_rng(2).normal(size=(50, 30))
    counts, order = k_occurrence(similarity), np.random.default_rng(3).permutation(30)
    assert counts.sum() == pytest.approx(500)
    assert k_occurrence(similarity[:, order]) == pytest.approx(counts[order])
    assert k_occurrence(3 * similarity + 1) == pytest.approx(counts)


def test_a_constant_scorer_has_no_hub_and_a_small_gallery_counts_whole() -> None:
    counts = k_occurrence(np.ones((7, 3)))
    assert counts == pytest.approx([7, 7, 7])
    assert skewness(k_occurrence(np.ones((7, 30)))) == 0.0


def test_skewness_keeps_sign_and_ignores_scale() -> None:
    values = np.random.default_rng(4).exponential(size=200)
    assert skewness(values) > 1
    assert skewness(-values) == pytest.approx(-skewness(values))
    assert skewness(5 * values + 3) == pytest.approx(skewness(values))


def test_what_is_no_similarity_is_refused() -> None:
    with pytest.raises(ValueError, match=r"similarity must be \(query, item\), got \(3,\)"):
        k_occurrence(np.ones(3))
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        k_occurrence(np.ones((2, 2)), k=0)
    with pytest.raises(ValueError, match="similarity must be finite, got NaN or infinity"):
        k_occurrence(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match=r"values must be a vector with values, got shape \(0,\)"):
        skewness(np.ones(0))

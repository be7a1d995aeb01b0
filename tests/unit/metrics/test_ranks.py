"""Ranks by hand, by a slow reference, and under changes that must not move them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conical.metrics import rank_queries, ranks

# rows are queries, the diagonal is correct
SQUARE = np.array(
    [
        [0.9, 0.1, 0.2, 0.3],  # nothing above 0.9: 1
        [0.8, 0.5, 0.7, 0.1],  # 0.8 and 0.7 above 0.5: 3
        [0.4, 0.4, 0.4, 0.1],  # two others tie with 0.4: 1 + 2 / 2 = 2, at best 1, at worst 3
        [0.6, 0.2, 0.3, 0.3],  # 0.6 above, one tie: 1 + 1 + 1 / 2 = 2.5, at best 2, at worst 3
    ]
)
# small integers on purpose: ties are then common
SCORES = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(6, 9)), elements=st.integers(0, 3))


def test_ranks_by_hand() -> None:
    assert ranks(SQUARE).tolist() == [1, 3, 2, 2.5]
    assert ranks(SQUARE, ties="optimistic").tolist() == [1, 3, 1, 2]
    assert ranks(SQUARE, ties="pessimistic").tolist() == [1, 3, 3, 3]
    assert ranks(SQUARE).dtype == np.float64


def test_the_best_of_several_positives_counts_and_the_others_do_not_compete() -> None:
    wide = np.array(
        [
            [5, 4, 3, 2, 1, 0, 0, 0],  # correct 1 and 3: 4 is best, only the 5 is above: 2
            [1, 1, 1, 0, 0, 0, 0, 9],  # correct 0, 1: both 1; 9 above; one wrong tie: 2 + 1 / (2 + 1)
            [7, 7, 0, 0, 0, 0, 0, 0],  # correct 0, 1: no wrong one is near: 1
            [0, 0, 0, 0, 0, 0, 0, 0],  # correct 7: all tie: 1 + 7 / 2
        ]
    )
    positives = [[3, 1], {0, 1}, (0, 1), [7]]
    assert ranks(wide, positives).tolist() == pytest.approx([2, 2 + 1 / 3, 1, 4.5])
    assert ranks(wide, positives, ties="optimistic").tolist() == [2, 2, 1, 1]
    assert ranks(wide, positives, ties="pessimistic").tolist() == [2, 3, 1, 8]


def test_a_column_named_twice_is_one_column() -> None:
    assert ranks(np.zeros((1, 5)), [[2, 2, 2]]).tolist() == [3.0]


def test_a_vector_gives_one_correct_column_a_query() -> None:
    scores = np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    assert ranks(scores, np.array([1, 0, 0])).tolist() == [1, 2, 1]


def test_extra_columns_are_distractors() -> None:
    assert ranks(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])).tolist() == [2, 1]


def mean_over_orders(scores: np.ndarray, positives: set[int]) -> tuple[float, dict[int, float]]:
    """Expected rank and hits of the best correct column over all orders that the scores allow: no formula."""
    found = []
    for order in itertools.permutations(range(len(scores))):
        descending = sorted(
            order, key=lambda column: -scores[column]
        )  # stable: equal scores stay as the order has them
        wrong_before = 0
        for column in descending:
            if column in positives:
                break
            wrong_before += 1
        found.append(1 + wrong_before)
    return float(np.mean(found)), {k: float(np.mean(np.array(found) <= k)) for k in (1, 2, 3, 5)}


@pytest.mark.parametrize("positives", [{0}, {0, 1}, {1, 4}, {0, 1, 2}])
@pytest.mark.parametrize("scores", [[1, 1, 1, 1, 1, 1], [2, 2, 1, 2, 0, 3], [0, 1, 1, 1, 1, 0], [3, 2, 1, 0, 5, 4]])
def test_expected_rank_and_hits_are_means_over_all_orders_of_ties(scores: list[int], positives: set[int]) -> None:
    rank, hits = mean_over_orders(np.array(scores), positives)
    ranking = rank_queries(np.array([scores], dtype=float), [positives])
    assert ranking.values().item() == pytest.approx(rank)
    for k, hit in hits.items():
        assert ranking.hits(k).item() == pytest.approx(hit), k


@given(SCORES, st.integers(0, 2**32 - 1))
def test_shuffling_the_gallery_with_its_positives_changes_nothing(scores: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(scores.shape[1])
    where = np.argsort(order)
    positives = [[row, (row + 2) % scores.shape[1]] for row in range(len(scores))]
    moved = [[int(where[column]) for column in own] for own in positives]
    assert ranks(scores[:, order], moved).tolist() == ranks(scores, positives).tolist()


@given(SCORES, st.integers(0, 2**32 - 1))
def test_shuffling_the_queries_shuffles_the_ranks(scores: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(scores))
    assert ranks(scores[order], order).tolist() == ranks(scores)[order].tolist()


@given(SCORES, st.integers(-5, 5), st.sampled_from([0.5, 2.0, 8.0]))
def test_a_constant_and_a_positive_scale_change_nothing(scores: np.ndarray, constant: int, scale: float) -> None:
    assert ranks(scale * scores + constant).tolist() == ranks(scores).tolist()


@given(SCORES)
def test_expected_lies_between_the_bounds_and_all_are_ranks(scores: np.ndarray) -> None:
    low, middle, high = (ranks(scores, ties=ties) for ties in ("optimistic", "expected", "pessimistic"))
    assert (low >= 1).all()
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (high <= scores.shape[1]).all()
    # with one correct column each, ties share their mean rank
    assert middle.tolist() == ((low + high) / 2).tolist()


@pytest.mark.parametrize("block_rows", [1, 2, 3, 7, 100])
def test_blocks_give_what_the_whole_gives(block_rows: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, size=(7, 9)).astype(float)
    positives = [rng.choice(9, size=rng.integers(1, 4), replace=False) for _ in range(7)]
    whole = rank_queries(scores, positives)
    parts = rank_queries(scores, positives, block_rows=block_rows)
    assert parts.better.tolist() == whole.better.tolist()
    assert parts.tied.tolist() == whole.tied.tolist()
    assert parts.positives_tied.tolist() == whole.positives_tied.tolist()


def test_a_constant_scorer_ranks_at_chance() -> None:
    # strictly-better counting would give rank 1 everywhere: 100 % R@1 for a collapsed model
    ranking = rank_queries(np.full((9, 9), 0.25))
    assert ranking.values().tolist() == [5.0] * 9
    assert ranking.hits(1).tolist() == pytest.approx([1 / 9] * 9)
    assert ranking.hits(5).tolist() == pytest.approx([5 / 9] * 9)
    assert ranking.hits(10).tolist() == [1.0] * 9
    assert ranking.hits(1, ties="optimistic").tolist() == [1.0] * 9
    assert ranking.hits(5, ties="pessimistic").tolist() == [0.0] * 9


def test_torch_and_numpy_agree_whatever_the_precision() -> None:
    scores = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    assert ranks(scores).tolist() == ranks(scores.numpy()).tolist()
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert ranks(scores.to(dtype)).tolist() == ranks(scores.to(dtype).double().numpy()).tolist()
    assert ranks(scores.numpy().astype(np.float16)).tolist() == ranks(scores.half()).tolist()
    assert ranks(scores.clone().requires_grad_()).tolist() == ranks(scores).tolist()


def test_infinities_are_ordinary_scores() -> None:
    assert ranks(np.array([[-np.inf, 0.0, -np.inf], [np.inf, 5.0, 0.0]])).tolist() == [2.5, 2.0]


@pytest.mark.parametrize("as_type", [np.asarray, torch.as_tensor])
def test_nan_is_refused_by_the_row_it_is_in(as_type: object) -> None:
    scores = np.zeros((5, 6))
    scores[3, 4] = np.nan
    with pytest.raises(ValueError, match="similarity must hold no NaN, got one in row 3"):
        ranks(as_type(scores), block_rows=2)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": np.zeros(3)}, r"similarity must be \(query, gallery\) .* got shape \(3,\)"),
        ({"similarity": np.zeros((0, 3))}, r"at least one of each, got shape \(0, 3\)"),
        ({"similarity": np.zeros((3, 2))}, "there are 3 rows and 2 columns: give positives"),
        ({"similarity": np.zeros((2, 2)), "positives": [[0]]}, "one entry for each of the 2 queries, got 1"),
        ({"similarity": np.zeros((2, 2)), "positives": [[0], []]}, "positives of query 1 are empty"),
        ({"similarity": np.zeros((2, 2)), "positives": [[0], [2]]}, r"query 1 must be columns 0 to 1, got \[2\]"),
        ({"similarity": np.zeros((2, 2)), "positives": [[-1], [1]]}, r"query 0 must be columns 0 to 1, got \[-1\]"),
        ({"similarity": np.zeros((2, 2)), "positives": [[0.5], [1]]}, r"query 0 must be columns 0 to 1, got \[0.5\]"),
        ({"similarity": np.zeros((2, 2)), "ties": "mean"}, "ties must be one of expected, optimistic, pessimistic"),
        ({"similarity": np.zeros((2, 2)), "block_rows": 0}, "block_rows must be >= 1, got 0"),
    ],
)
def test_ranks_refuse(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranks(**arguments)


def test_hits_refuse_an_empty_list() -> None:
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        rank_queries(SQUARE).hits(0)


def test_a_ranking_prints_its_size() -> None:
    assert repr(rank_queries(SQUARE)) == "Ranking(num_queries=4, num_gallery=4, has_ties=True)"

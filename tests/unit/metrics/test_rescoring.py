"""Rescoring families by hand and against loops over single cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conical.metrics import dual_softmax, qb_norm, ranks

SQUARE = np.arange(16.0).reshape(4, 4)
SMALL = hnp.arrays(np.float64, (4, 5), elements=st.integers(-4, 4))
BANK = hnp.arrays(np.float64, (3, 5), elements=st.integers(-4, 4))


def test_dual_softmax_by_hand() -> None:
    scores = np.array([[2.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    # tau = log 2: columns' weights 4 : 2 : 1 and 2 : 2 : 4
    expected = [[2 * 4 / 7, 1 / 4], [2 / 7, 1 / 4], [0.0, 2 * 2 / 4]]
    assert dual_softmax(scores, tau=float(np.log(2))) == pytest.approx(np.array(expected))
    assert dual_softmax(torch.as_tensor(scores), tau=float(np.log(2))) == pytest.approx(np.array(expected))


# columns: a hub, an entry that one bank query prefers, one that none prefers
QUERIES = np.array(
    [
        [3.0, 2.5, 0.0],  # prefers the hub: rescored
        [0.0, 1.0, 2.0],  # prefers column 2, in nobody's list: stays
        [1.0, 2.0, 0.0],  # prefers column 1: rescored
    ]
)
QUERYBANK = np.array([[4.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])


def test_qb_norm_by_hand() -> None:
    # beta = log 2, so exp(beta s) = 2^s. Sums over the bank: 16 + 8 + 1 = 25; 1 + 1 + 4 = 6; 2 + 2 + 2 = 6
    beta = math.log(2)
    expected = [
        [3 - math.log2(25), 2.5 - math.log2(6), 0 - math.log2(6)],  # -1.64, -0.08, -2.58: the hub falls behind
        [0.0, 1.0, 2.0],
        [1 - math.log2(25), 2 - math.log2(6), 0 - math.log2(6)],
    ]
    assert qb_norm(QUERIES, QUERYBANK, beta=beta) == pytest.approx(np.array(expected))
    assert ranks(QUERIES, [1, 2, 1]).tolist() == [2, 1, 1]
    assert ranks(qb_norm(QUERIES, QUERYBANK, beta=beta), [1, 2, 1]).tolist() == [1, 1, 1]


def test_a_wider_activation_set_rescores_more_rows() -> None:
    # with the two best of each bank query column 2 is active too
    wide = qb_norm(QUERIES, QUERYBANK, beta=math.log(2), k=2)
    assert wide[1] == pytest.approx([0 - math.log2(25), 1 - math.log2(6), 2 - math.log2(6)])


def slow_qb_norm(scores: np.ndarray, bank: np.ndarray, beta: float, k: int) -> np.ndarray:
    """Cell by cell, with eta itself."""
    active = set()
    for row in bank:
        active |= set(sorted(range(len(row)), key=lambda column: (-row[column], column))[:k])
    found = np.zeros_like(scores)
    for i, row in enumerate(scores):
        best = min(range(len(row)), key=lambda column: (-row[column], column))
        for j, score in enumerate(row):
            eta = math.exp(beta * score) / sum(math.exp(beta * other[j]) for other in bank)
            found[i, j] = math.log(eta) / beta if best in active else score
    return found


@given(SMALL, BANK, st.sampled_from([0.1, 1.0, 3.0]), st.integers(1, 5))
def test_qb_norm_equals_a_loop_over_cells(scores: np.ndarray, bank: np.ndarray, beta: float, k: int) -> None:
    assert qb_norm(scores, bank, beta=beta, k=k) == pytest.approx(slow_qb_norm(scores, bank, beta, k))
    assert qb_norm(torch.as_tensor(scores), torch.as_tensor(bank), beta=beta, k=k) == pytest.approx(
        qb_norm(scores, bank, beta=beta, k=k)
    )


def test_small_shares_of_the_bank_do_not_become_ties() -> None:
    # eta is exp(-300) and exp(-301): both 0 in float32
    scores = np.array([[0.0, 1.0, 4.0]], dtype=np.float32)
    bank = np.array([[301.0, 301.0, 400.0]], dtype=np.float32)
    rescored = qb_norm(scores, bank, beta=1.0)
    assert rescored.dtype == np.float32
    assert rescored.tolist() == [[-301.0, -300.0, -396.0]]


@given(SMALL, BANK)
def test_qb_norm_of_a_constant_bank_keeps_every_order(scores: np.ndarray, bank: np.ndarray) -> None:
    # subtracting one number from a row moves nothing
    rescored = qb_norm(scores, np.ones_like(bank), beta=2.0, k=5)
    positives = np.arange(4)
    assert ranks(rescored.round(9), positives).tolist() == ranks(scores, positives).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": np.zeros(4)}, r"similarity must be \(query, gallery\) .* got shape \(4,\)"),
        ({"tau": 0.0}, "tau must be a finite number > 0, got 0.0"),
        (
            {"similarity": np.array([[0.0, 1.0], [np.inf, 0.0]])},
            "similarity must be finite for a dual softmax, got NaN or infinity in row 1",
        ),
    ],
)
def test_dual_softmax_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dual_softmax(**({"similarity": SQUARE} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": np.zeros((2, 0))}, r"similarity must be \(query, gallery\) with at least one of each"),
        ({"bank_similarity": np.zeros((0, 4))}, r"bank_similarity must be \(bank, gallery\) with at least one of each"),
        ({"bank_similarity": np.zeros((2, 3))}, "must score the same gallery, got 4 and 3 columns"),
        ({"beta": float("inf")}, "beta must be a finite number > 0, got inf"),
        ({"k": 0}, "k must be 1 to 4, the size of the gallery, got 0"),
        ({"k": 5}, "k must be 1 to 4, the size of the gallery, got 5"),
        (
            {"bank_similarity": np.array([[0, 1, 2, 3], [0, np.nan, 0, 0]])},
            "bank_similarity must be finite for QB-Norm, got NaN or infinity in row 1",
        ),
    ],
)
def test_qb_norm_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        qb_norm(**({"similarity": SQUARE, "bank_similarity": SQUARE} | arguments))


def test_dual_softmax_weighs_in_double_precision_whatever_it_is_given() -> None:
    # exp(-100 * 1.2) is zero in float32: the two lower scores would both become 0
    scores = np.array([[1.2], [0.0001], [0.0002]], dtype=np.float32)
    found = dual_softmax(scores)
    assert found.dtype == np.float64
    assert found[2, 0] > found[1, 0] > 0
    np.testing.assert_array_equal(found, dual_softmax(scores.astype(np.float64)))

"""Querybank normalisation: entries of the gallery that many foreign queries like too are lowered."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.families.family import Family, finite_scores
from conical.metrics.tiles import Matrix


def qb_norm(
    similarity: Matrix, bank_similarity: Matrix, *, beta: float = 20.0, k: int = 1
) -> NDArray[np.floating[Any]]:
    """Lower the scores of gallery entries that many foreign queries like too (QB-Norm, family `qbnorm`).

        eta_ij = exp(beta s_ij) / sum_b exp(beta s_bj)         b over the bank: queries of which none is tested
        A      = {j: j among the k best of some bank query}    the hubs, "activation set"
        rescored_ij = log(eta_ij) / beta   if the best j of row i is in A,   else s_ij

    This is the dynamic inverted softmax: a row whose best entry is no hub keeps its scores. Of eta the logarithm is
    given, divided by beta: the order within a row, which is all that ranks look at, is the same, and small values of
    eta cannot become equal zeros. Scores of different rows are not comparable afterwards.

    Rows are the queries. For text to video the bank is captions *of the train split*; one that holds test captions
    makes the number another one. For video to text give the transposed matrix and a bank of train videos.

    Args:
        similarity: (query, gallery) scores, finite.
        bank_similarity: (bank, gallery) scores of the bank's queries against the same gallery, finite.
        beta: scale of the scores inside the softmax, above 0; 20 is the source's for cosines.
        k: entries that each bank query activates, 1 to the gallery's size; of equal scores the lower column.

    Returns:
        (query, gallery) rescored, float32 or wider.

    Raises:
        ValueError: shapes, scale, k or scores are wrong.

    Source: Bogolin, Croitoru, Jin, Liu and Albanie 2022, "Cross Modal Retrieval with Querybank Normalisation"
    (dynamic inverted softmax; its activation set has k = 1).

    Column 0 is the best of both bank queries. Row 0 prefers it, so it is rescored, at beta = log 2 by
    log2(2^4 + 2^4) = 5 and log2(2^0 + 2^0) = 1; row 1 prefers column 1, which no bank query does, and stays:

    >>> bank = np.array([[4.0, 0.0], [4.0, 0.0]])
    >>> qb_norm(np.array([[3.0, 2.0], [1.0, 2.0]]), bank, beta=float(np.log(2))).round(3).tolist()
    [[-2.0, 1.0], [1.0, 2.0]]
    """
    require(0 < beta < float("inf"), f"beta must be a finite number > 0, got {beta}")
    scores = finite_scores("similarity", similarity, rows="query", family="QB-Norm")
    bank = finite_scores("bank_similarity", bank_similarity, rows="bank", family="QB-Norm")
    num_gallery = scores.shape[1]
    require(
        bank.shape[1] == num_gallery,
        f"similarity and bank_similarity must score the same gallery, got {num_gallery} and {bank.shape[1]} columns",
    )
    require(1 <= k <= num_gallery, f"k must be 1 to {num_gallery}, the size of the gallery, got {k}")
    is_hub = np.zeros(num_gallery, dtype=bool)
    is_hub[bank.argmax(axis=1) if k == 1 else np.argsort(-bank, axis=1, kind="stable")[:, :k]] = True
    is_rescored = is_hub[scores.argmax(axis=1)]
    highest = bank.max(axis=0)
    log_sum = highest + np.log(np.exp(beta * (bank - highest)).sum(axis=0)) / beta
    return cast(NDArray[np.floating[Any]], np.where(is_rescored[:, None], scores - log_sum, scores))


QBNORM = Family(
    name="qbnorm",
    rescore=qb_norm,
    parameters={"beta": 20.0, "k": 1},
    options={"beta": "qbnorm_beta", "k": "qbnorm_k"},
    scale="beta",
    needs_bank=True,
    note="QB-Norm at beta {beta:g}, k {k}, bank of {bank}",
)

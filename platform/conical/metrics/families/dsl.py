"""Dual softmax: an entry of the gallery counts for the query that it prefers."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.families.family import Family, finite_scores
from conical.metrics.tiles import Matrix


def dual_softmax(similarity: Matrix, *, tau: float = 100.0) -> NDArray[np.float64]:
    """Weigh each score by how much its gallery entry prefers that query among all queries (family `dsl`).

        rescored_ij = s_ij exp(tau s_ij) / sum_i' exp(tau s_i'j)

    Rows are the queries: for v2t give the transposed matrix. The formula is meant for scores above zero; a negative
    score moves up when its weight is small, as in the source.

    Args:
        similarity: (query, gallery) scores, finite.
        tau: scale of the scores inside the softmax, above 0.

    Returns:
        (query, gallery) rescored, float64: at tau 100 the weights of float32 can become zero, and many scores equal.

    Raises:
        ValueError: shape, scale or scores are wrong.

    Source: Cheng et al. 2021, "Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax Loss".

    The first column is claimed by row 0 (weight 3/4 against 1/4 at tau = log 3), the second is equally near to both:

    >>> dual_softmax(np.array([[1.0, 0.5], [0.0, 0.5]]), tau=float(np.log(3))).round(3).tolist()
    [[0.75, 0.25], [0.0, 0.25]]
    """
    require(0 < tau < float("inf"), f"tau must be a finite number > 0, got {tau}")
    scores = finite_scores("similarity", similarity, rows="query", family="a dual softmax").astype(np.float64)
    logits = tau * (scores - scores.max(axis=0))
    weights = np.exp(logits)
    return cast(NDArray[np.float64], scores * weights / weights.sum(axis=0))


DSL = Family(
    name="dsl",
    rescore=dual_softmax,
    parameters={"tau": 100.0},
    options={"tau": "dsl_tau"},
    scale="tau",
    is_scale_of_cosines=True,
    note="dual softmax at tau {tau:g}",
)

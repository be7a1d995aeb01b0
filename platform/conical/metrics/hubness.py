"""Hubness: a few gallery items that turn up among the first hits of very many queries.

    N_k(x) = number of queries that have x among their first k hits        k-occurrence
    S      = E[(N_k - mean)^3] / std^3                                     skewness

Without hubs every item occurs about k * queries / gallery times and S is near 0; hubs pull S far above it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require


def k_occurrence(similarity: NDArray[np.floating], *, k: int = 10) -> NDArray[np.float64]:
    """How often each gallery item is among the first k hits.

    Items that tie for the last places share them equally, so that the order of the columns changes nothing.

    Args:
        similarity: (query, item), higher is nearer, finite.
        k: at least 1; a gallery smaller than k counts whole.

    Returns:
        (item,) counts; their sum is queries times min(k, items).

    Raises:
        ValueError: not a matrix with values, a value is not finite, or k is below 1.

    Source: Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in Space", JMLR 11, section 2; of queries against a
    gallery as in Bogolin et al. 2022, "Cross Modal Retrieval with Querybank Normalisation". The rule for ties is ours.

    >>> k_occurrence(np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.2]]), k=2)
    array([2. , 0.5, 1.5])
    """
    require(similarity.ndim == 2 and similarity.size > 0, f"similarity must be (query, item), got {similarity.shape}")
    require(k >= 1, f"k must be >= 1, got {k}")
    require(bool(np.isfinite(similarity).all()), "similarity must be finite, got NaN or infinity")
    k = min(k, similarity.shape[1])
    last = np.partition(similarity, -k, axis=1)[:, -k, None]
    above, level = similarity > last, similarity == last
    share = (k - above.sum(axis=1, keepdims=True)) / level.sum(axis=1, keepdims=True)
    counts: NDArray[np.float64] = (above + level * share).sum(axis=0)
    return counts


def skewness(values: NDArray[np.floating]) -> float:
    """The third standardised moment, of the population; 0 for values that are all equal.

    Args:
        values: (item,), at least one.

    Returns:
        0 for a symmetric distribution, above 0 with a long tail to the right.

    Raises:
        ValueError: not a vector with values.

    Source: Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in Space", JMLR 11, equation 1.

    >>> round(skewness(np.array([0.0, 0.0, 0.0, 4.0])), 4)
    1.1547
    """
    require(values.ndim == 1 and values.size > 0, f"values must be a vector with values, got shape {values.shape}")
    centred = values - values.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    # rounding alone leaves a spread of some 1e-16 of the mean on equal values
    if spread <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return 0.0
    return float(np.mean((centred / spread) ** 3))

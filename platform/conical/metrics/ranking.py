"""Where the correct gallery entry of each query lands, with ties treated as the chance they are.

For one query with scores s_j and correct columns P, the best correct one scores s* = max_{p in P} s_p. Counted are

    better  = #{j not in P: s_j > s*}        tied = #{j not in P: s_j = s*}        p = #{j in P: s_j = s*}

The other correct columns are no competitors. Under a random order of equal scores the best correct column stands at

    optimistic 1 + better      expected 1 + better + tied / (p + 1)      pessimistic 1 + better + tied

(for p = 1, one correct column, the ties share their mean rank). Whether it is within the top k is then no longer yes or
no but a probability, `Ranking.hits`. With both, a scorer that gives one constant scores exactly chance: mean rank
(N + 1) / 2 and R@1 = 1 / N, where counting only strictly better columns would give it 100 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice

TIES = ("expected", "optimistic", "pessimistic")


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """For each query, what stands before and beside its best correct column.

    Args:
        better: (num_queries,) wrong columns that score higher than the best correct one.
        tied: (num_queries,) wrong columns that score the same.
        positives_tied: (num_queries,) correct columns that share the best correct score, at least 1.
    """

    better: NDArray[np.int64]
    tied: NDArray[np.int64]
    positives_tied: NDArray[np.int64]
    num_gallery: int

    def __post_init__(self) -> None:
        assert self.better.ndim == 1, self.better.shape
        assert self.better.shape == self.tied.shape == self.positives_tied.shape, self.tied.shape
        assert (self.better + self.tied + self.positives_tied <= self.num_gallery).all()

    def __len__(self) -> int:
        return len(self.better)

    def __repr__(self) -> str:
        return f"Ranking(num_queries={len(self)}, num_gallery={self.num_gallery}, has_ties={self.has_ties})"

    @property
    def has_ties(self) -> bool:
        """Whether a wrong column ties with a best correct one, so that the tie rule matters."""
        return bool(self.tied.any())

    def values(self, ties: str = "expected") -> NDArray[np.float64]:
        """Ranks from 1.

        Args:
            ties: one of `TIES`.

        Returns:
            (num_queries,) float64.

        Raises:
            ValueError: no such rule.
        """
        require_choice("ties", ties, TIES)
        first = (1 + self.better).astype(np.float64)
        if ties == "optimistic":
            return first
        share = 1.0 if ties == "pessimistic" else 1.0 / (self.positives_tied + 1)
        return cast(NDArray[np.float64], first + self.tied * share)

    def hits(self, k: int, ties: str = "expected") -> NDArray[np.float64]:
        """Probability that a correct column is within the top k.

        Args:
            k: length of the result list, at least 1.
            ties: one of `TIES`; for the two bounds the answer is 0 or 1.

        Returns:
            (num_queries,) in [0, 1].

        Raises:
            ValueError: no such rule, or k is below 1.
        """
        require(k >= 1, f"k must be >= 1, got {k}")
        if ties != "expected":
            return (self.values(ties) <= k).astype(np.float64)
        places = k - self.better
        miss = np.ones(len(self))
        # each of the remaining places goes to a wrong column with the share of wrong ones among those not yet placed
        for place in range(k):
            wrong = np.maximum(self.tied - place, 0)
            share = wrong / (wrong + self.positives_tied)
            miss = np.where(place < places, miss * share, miss)
        return 1.0 - miss

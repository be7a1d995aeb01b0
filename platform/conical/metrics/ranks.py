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

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice

if TYPE_CHECKING:
    from torch import Tensor

TIES = ("expected", "optimistic", "pessimistic")
_BLOCK_ROWS = 1024

Matrix: TypeAlias = "NDArray[Any] | Tensor"
Positives: TypeAlias = Sequence[Collection[int]] | NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """For each query, what stands before and beside its best correct column.

    Args:
        better: (num_queries,) wrong columns that score higher than the best correct one.
        tied: (num_queries,) wrong columns that score the same.
        positives_tied: (num_queries,) correct columns that share the best correct score, at least 1.
        num_gallery: number of columns.
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


def ranks(
    similarity: Matrix, positives: Positives | None = None, ties: str = "expected", *, block_rows: int = _BLOCK_ROWS
) -> NDArray[np.float64]:
    """Rank of the best correct column of each row, from 1.

    Args:
        similarity: (query, gallery), NumPy or torch; half precision is widened, infinities are ordinary scores.
        positives: per query the columns that are correct (one or more; the best counts), or a vector with the one
            correct column of each query; None: column i is correct for row i.
        ties: `"expected"`, `"optimistic"` or `"pessimistic"`, see this module's head.
        block_rows: rows looked at together; it changes the memory used, not the result.

    Returns:
        (query,) float64; only `"expected"` gives fractions.

    Raises:
        ValueError: a shape, column or choice is wrong, or a score is NaN.

    In the first row one column beats the diagonal; in the second the diagonal ties with one other column:

    >>> ranks(np.array([[0.5, 0.9], [0.3, 0.3]])).tolist()
    [2.0, 1.5]
    """
    require_choice("ties", ties, TIES)
    return rank_queries(similarity, positives, block_rows=block_rows).values(ties)


def rank_queries(similarity: Matrix, positives: Positives | None = None, *, block_rows: int = _BLOCK_ROWS) -> Ranking:
    """Count what stands before and beside the best correct column of each row; arguments as for `ranks`.

    Raises:
        ValueError: a shape or column is wrong, or a score is NaN.
    """
    require(
        similarity.ndim == 2 and min(similarity.shape) > 0,
        f"similarity must be (query, gallery) with at least one of each, got shape {tuple(similarity.shape)}",
    )
    require(block_rows >= 1, f"block_rows must be >= 1, got {block_rows}")
    num_queries, num_gallery = similarity.shape
    columns, starts = flat_positives(positives, num_queries=num_queries, num_gallery=num_gallery)
    better, tied, positives_tied = (np.empty(num_queries, dtype=np.int64) for _ in range(3))
    for first in range(0, num_queries, block_rows):
        rows = slice(first, min(first + block_rows, num_queries))
        scores = _wide_block(similarity, rows)
        own = slice(starts[rows.start], starts[rows.stop])
        counts = np.diff(starts[rows.start : rows.stop + 1])
        offsets = starts[rows] - starts[rows.start]
        own_scores = scores[np.repeat(np.arange(len(scores)), counts), columns[own]]
        best = np.maximum.reduceat(own_scores, offsets)
        positives_tied[rows] = np.add.reduceat(own_scores == np.repeat(best, counts), offsets, dtype=np.int64)
        # no correct column is above the best correct one, so those above are all wrong
        better[rows] = np.count_nonzero(scores > best[:, None], axis=1)
        tied[rows] = np.count_nonzero(scores == best[:, None], axis=1) - positives_tied[rows]
    return Ranking(better=better, tied=tied, positives_tied=positives_tied, num_gallery=num_gallery)


def as_array(matrix: Matrix) -> NDArray[Any]:
    """A NumPy array of a matrix of scores, in float32 or wider: fewer digits would make ties of their own."""
    if not isinstance(matrix, np.ndarray):
        # NumPy has no bfloat16
        matrix = matrix.detach().to("cpu")
        matrix = (matrix.float() if matrix.is_floating_point() and matrix.itemsize < 4 else matrix).numpy()
    return matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False)


def _wide_block(similarity: Matrix, rows: slice) -> NDArray[Any]:
    scores = as_array(similarity[rows])
    is_nan_row = np.isnan(scores).any(axis=1)
    if is_nan_row.any():
        row = rows.start + int(np.argmax(is_nan_row))
        raise ValueError(
            f"similarity must hold no NaN, got one in row {row}: look for NaN in that query's embedding or the gallery"
        )
    return scores


def flat_positives(
    positives: Positives | None, *, num_queries: int, num_gallery: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Correct columns one query after the other, and where each query's begin (one more entry than queries).

    Raises:
        ValueError: a query has none, or a column does not exist.
    """
    if positives is None:
        require(
            num_gallery >= num_queries,
            f"without positives row i belongs to column i, but there are {num_queries} rows and {num_gallery} columns: "
            "give positives",
        )
        return np.arange(num_queries), np.arange(num_queries + 1)
    require(
        len(positives) == num_queries,
        f"positives must have one entry for each of the {num_queries} queries, got {len(positives)}",
    )
    if isinstance(positives, np.ndarray) and positives.ndim == 1 and positives.dtype.kind in "iu":
        # one each: no loop, unless to name the query that is wrong
        columns = positives.astype(np.int64)
        if ((columns >= 0) & (columns < num_gallery)).all():
            return columns, np.arange(num_queries + 1)
    # a column named twice is still one column
    entries = [np.unique(np.asarray(_as_columns(entry))) for entry in positives]
    for query, entry in enumerate(entries):
        require(entry.size > 0, f"positives of query {query} are empty: give at least one column, or leave it out")
        require(
            entry.dtype.kind in "iu" and entry[0] >= 0 and entry[-1] < num_gallery,
            f"positives of query {query} must be columns 0 to {num_gallery - 1}, got {entry.tolist()}",
        )
    starts = np.concatenate([[0], np.cumsum([entry.size for entry in entries])])
    return np.concatenate(entries).astype(np.int64), starts


def _as_columns(entry: Any) -> list[Any]:
    return list(entry) if isinstance(entry, Collection) else [entry]

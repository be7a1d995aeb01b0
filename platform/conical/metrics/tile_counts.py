"""The one walk over tiles of scores that ranks are counted in, whatever the tiles come from.

1. Texts are put in the order of their videos, so that correct pairs lie near the diagonal.
2. The scores of correct pairs are looked up; they give each query the score it has to defend.
3. All tiles are walked, and in each the scores above and at that score are counted, along rows for text to video and
   along columns for video to text. Counts are added up in integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.metrics.ranking import Ranking
from conical.metrics.tiles import Tiles


@dataclass(frozen=True, kw_only=True, eq=False)
class BothRankings:
    """Both directions of one walk.

    Args:
        t2v: each text ranks the videos.
        v2t: each video that has texts ranks the groups of texts, each by its best text.
        v2t_any: each such video ranks all texts singly; None where no video has several, since it then equals `v2t`.
    """

    t2v: Ranking
    v2t: Ranking
    v2t_any: Ranking | None = None


def count_rows(tiles: Tiles, columns: NDArray[np.int64], starts: NDArray[np.int64]) -> Ranking:
    """Rank the columns for each row.

    Args:
        tiles: the scores, a row for each query.
        columns: the correct columns, one query after the other.
        starts: where each query's begin, and the end.
    """
    place = tiles.sort_rows_by(columns[starts[:-1]])
    best, positives_tied = _best_of(tiles.scores_of(np.repeat(place, np.diff(starts)), columns), starts)
    counter = _Counter(tiles, best[tiles.order], axis=1)
    for rows, _, scores in tiles.walk():
        counter.add(rows, scores)
    return counter.ranking(place, positives_tied, num_gallery=tiles.num_columns)


def count_both(tiles: Tiles, owner: NDArray[np.int64]) -> BothRankings:
    """Rank the columns for each row, and rows and groups of rows for each column.

    Args:
        tiles: the scores, a row for each text and a column for each video.
        owner: (text,) column of each text's video.
    """
    place = tiles.sort_rows_by(owner)
    own = tiles.scores_of(place, owner)[tiles.order]
    videos, starts, group_of_text = np.unique(owner[tiles.order], return_index=True, return_inverse=True)
    best_of_video, own_tied = _best_of(own, np.append(starts, len(own)))
    best_of_column = np.full(tiles.num_columns, np.inf, dtype=own.dtype)  # nothing is above it: no query
    best_of_column[videos] = best_of_video

    by_row, by_column = _Counter(tiles, own, axis=1), _Counter(tiles, best_of_column, axis=0)
    by_group = _GroupCounter(tiles, best_of_column, group_of_text) if len(videos) < len(owner) else None
    for rows, columns, scores in tiles.walk():
        by_row.add(rows, scores)
        by_column.add(columns, scores)
        if by_group is not None:
            by_group.add(rows, columns, scores)

    one = np.ones(tiles.num_rows, dtype=np.int64)
    t2v = by_row.ranking(place, one, num_gallery=tiles.num_columns)
    v2t_any = by_column.ranking(videos, own_tied, num_gallery=tiles.num_rows)
    if by_group is None:
        return BothRankings(t2v=t2v, v2t=v2t_any)
    v2t = by_group.counter.ranking(videos, one[: len(videos)], num_gallery=len(videos))
    return BothRankings(t2v=t2v, v2t=v2t, v2t_any=v2t_any)


class _Counter:
    """For each entry of one axis how many scores are above, and how many at or above, the score it defends."""

    def __init__(self, tiles: Tiles, best: NDArray[Any], *, axis: int) -> None:
        self._arrays, self._axis = tiles.arrays, axis
        self._best = self._arrays.asarray(best)
        self._above, self._reached = (np.zeros(len(best), dtype=np.int64) for _ in range(2))
        self._scratch = self._arrays.empty(tiles.shape[0] * tiles.shape[1], dtype=self._arrays.float32)

    def add(self, where: slice, scores: Any) -> None:
        best = self._best[where, None] if self._axis == 1 else self._best[None, where]
        scratch = self._scratch[: scores.shape[0] * scores.shape[1]].reshape(scores.shape)
        # comparing into float32 and adding that is several times faster than bool; a tile's counts are exact in it
        for compare, counts in ((self._arrays.greater, self._above), (self._arrays.greater_equal, self._reached)):
            counts[where] += np.asarray(compare(scores, best, out=scratch).sum(self._axis)).astype(np.int64)

    def ranking(self, entries: NDArray[np.int64], own_tied: NDArray[np.int64], *, num_gallery: int) -> Ranking:
        """The ranking of the queries at these places; `own_tied` of each one's correct entries share the best score."""
        above, reached = self._above[entries], self._reached[entries]
        return Ranking(better=above, tied=reached - above - own_tied, positives_tied=own_tied, num_gallery=num_gallery)


class _GroupCounter:
    """Along columns as `_Counter`, but of each group of rows only the best score counts.

    Rows of one group follow each other. A group that reaches into the next tile waits with its best so far.
    """

    def __init__(self, tiles: Tiles, best: NDArray[Any], group_of_row: NDArray[np.int64]) -> None:
        self.counter = _Counter(tiles, best, axis=0)
        self._tiles, self._groups = tiles, group_of_row
        self._waiting = tiles.arrays.asarray(np.empty_like(best))

    def add(self, rows: slice, columns: slice, scores: Any) -> None:
        groups, arrays = self._groups[rows], self._tiles.arrays
        maxima = self._tiles.maxima(scores, groups)
        if rows.start > 0 and self._groups[rows.start - 1] == groups[0]:
            arrays.maximum(maxima[0], self._waiting[columns], out=maxima[0])
        if rows.stop < len(self._groups) and self._groups[rows.stop] == groups[-1]:
            self._waiting[columns] = maxima[-1]
            maxima = maxima[:-1]
        self.counter.add(columns, maxima)


def _best_of(own: NDArray[Any], starts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Of each query's own scores the best, and how many share it."""
    best = np.maximum.reduceat(own, starts[:-1])
    return best, np.add.reduceat(own == np.repeat(best, np.diff(starts)), starts[:-1], dtype=np.int64)

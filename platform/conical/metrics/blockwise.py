"""Ranks straight from embeddings: exact, both directions in one sweep, never a whole (text, video) matrix.

1. Texts are put in the order of their videos, so that correct pairs lie near the diagonal.
2. The tiles that hold correct pairs are computed; they give each query the score it has to defend.
3. All tiles are computed, and in each the scores above and at that score are counted, along rows for text to video and
   along columns for video to text. Counts are added up in integers.

A score is one entry of the float32 product of a tile of texts and a tile of videos, whatever type the embeddings have;
the last tiles are filled up with zero rows so that every product has the same shape. A product of another shape may
round another way, so a correct pair's score is never computed by itself: steps 2 and 3 take it from the same product.
For the same reason equal embeddings get equal scores, and tie, as long as the BLAS computes each entry of a product of
fixed shape by one order of additions. MKL's float32 product, which torch uses on x86, does so; its float64 product does
not, hence no wider type is offered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.alignment import Ids, checked_owner, require_unique_ids
from conical.metrics.ranks import Matrix, Positives, Ranking, flat_positives

if TYPE_CHECKING:
    from torch import Tensor

# 1,024 x 1,024 float32 scores are 4 MB: large enough for the product's full speed, small enough to be counted in cache
TILE = 1024
_CHECKED_ROWS = 4096
# the square of a longer row is no float32, so its scores might not be either
_LONGEST = 1e19


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingRankings:
    """Both directions of one sweep.

    Args:
        t2v: each text ranks the videos.
        v2t: each video that has texts ranks the groups of texts, each by its best text.
        v2t_any: each such video ranks all texts singly; None where no video has several, since it then equals `v2t`.
    """

    t2v: Ranking
    v2t: Ranking
    v2t_any: Ranking | None = None


def rank_embeddings(
    queries: Matrix,
    gallery: Matrix,
    positives: Positives | None = None,
    *,
    query_ids: Ids | None = None,
    gallery_ids: Ids | None = None,
    tile: int = TILE,
) -> Ranking:
    """Rank a gallery by dot product for each query, without the matrix of scores.

    Args:
        queries: (query, dim), NumPy or torch, any real type; normalise first for cosines.
        gallery: (gallery, dim).
        positives: per query the correct rows of the gallery, or a vector with one each; None: row i for query i.
        query_ids: one a query, checked for padding and repetition.
        gallery_ids: the same for the gallery.
        tile: rows of queries and of the gallery in one product, at least 1. Memory grows with its square; a score may
            change in its last digit with it, see this module's head.

    Returns:
        What `rank_queries` gives on the whole float32 matrix computed in the same tiles.

    Raises:
        ValueError: a shape, id or positive is wrong, or a row is zero (padding), NaN or infinite.

    >>> queries, gallery = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]])
    >>> rank_embeddings(queries, gallery, np.array([0, 2])).values().tolist()
    [2.0, 2.0]
    """
    tiles = _Tiles(queries, gallery, names=("queries", "gallery"), tile=tile)
    require_unique_ids("query_ids", query_ids, count=tiles.num_rows)
    require_unique_ids("gallery_ids", gallery_ids, count=tiles.num_columns)
    columns, starts = flat_positives(positives, num_queries=tiles.num_rows, num_gallery=tiles.num_columns)
    counts = np.diff(starts)
    place = tiles.sort_rows_by(columns[starts[:-1]])
    own = tiles.scores_of(np.repeat(place, counts), columns)
    best, positives_tied = _best_of(own, starts)
    counter = _Counter(best[tiles.order], dim=1, tile=tile)
    for rows, _, scores in tiles.walk():
        counter.add(rows, scores)
    return counter.ranking(place, positives_tied, num_gallery=tiles.num_columns)


def rank_both_directions(
    text: Matrix,
    video: Matrix,
    *,
    text_video: NDArray[np.integer[Any]] | None = None,
    text_ids: Ids | None = None,
    video_ids: Ids | None = None,
    tile: int = TILE,
) -> EmbeddingRankings:
    """Rank text to video and video to text by dot product in one sweep over the tiles of the product.

    Args:
        text: (text, dim), NumPy or torch, any real type; normalise first for cosines.
        video: (video, dim).
        text_video: (text,) for each text the row of its video; None: text i belongs to video i. Videos without a text
            are distractors in t2v and no queries in v2t.
        text_ids: one a text, checked for padding and repetition.
        video_ids: the same for the videos.
        tile: see `rank_embeddings`.

    Returns:
        What `rank_queries` gives on the whole float32 matrix computed in the same tiles, on its transpose, and on the
        transpose's maxima over each video's texts.

    Raises:
        ValueError: a shape, id or text_video is wrong, or a row is zero (padding), NaN or infinite.

    Two texts of one video, then one of another; as a group the first video's texts lead for it:

    >>> text, video = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> found = rank_both_directions(text, video, text_video=np.array([0, 0, 1]))
    >>> found.t2v.values().tolist(), found.v2t.values().tolist(), found.v2t_any.values().tolist()
    ([1.0, 2.0, 2.0], [1.0, 2.0], [1.0, 2.0])
    """
    tiles = _Tiles(text, video, names=("text", "video"), tile=tile)
    require_unique_ids("text_ids", text_ids, count=tiles.num_rows)
    require_unique_ids("video_ids", video_ids, count=tiles.num_columns)
    owner = checked_owner(text_video, num_texts=tiles.num_rows, num_videos=tiles.num_columns)
    place = tiles.sort_rows_by(owner)
    own = tiles.scores_of(place, owner)[tiles.order]
    videos, starts, group_of_text = np.unique(owner[tiles.order], return_index=True, return_inverse=True)
    best_of_video, own_tied = _best_of(own, np.append(starts, len(own)))
    best_of_column = np.full(tiles.num_columns, np.inf, dtype=np.float32)  # nothing is above it: no query
    best_of_column[videos] = best_of_video
    has_groups = len(videos) < len(owner)

    by_row, by_column = _Counter(own, dim=1, tile=tile), _Counter(best_of_column, dim=0, tile=tile)
    by_group = _GroupCounter(group_of_text, best_of_column, tile=tile) if has_groups else None
    for rows, columns, scores in tiles.walk():
        by_row.add(rows, scores)
        by_column.add(columns, scores)
        if by_group is not None:
            by_group.add(rows, columns, scores)

    one = np.ones(tiles.num_rows, dtype=np.int64)
    t2v = by_row.ranking(place, one, num_gallery=tiles.num_columns)
    v2t_any = by_column.ranking(videos, own_tied, num_gallery=tiles.num_rows)
    if by_group is None:
        return EmbeddingRankings(t2v=t2v, v2t=v2t_any)
    v2t = by_group.counter.ranking(videos, one[: len(videos)], num_gallery=len(videos))
    return EmbeddingRankings(t2v=t2v, v2t=v2t, v2t_any=v2t_any)


def _best_of(own: NDArray[np.float32], starts: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Of each query's own scores the best, and how many share it."""
    best = np.maximum.reduceat(own, starts[:-1])
    return best, np.add.reduceat(own == np.repeat(best, np.diff(starts)), starts[:-1], dtype=np.int64)


class _Tiles:
    """The product of two sets of embeddings, a tile at a time; rows can be put in another order first."""

    def __init__(self, rows: Matrix, columns: Matrix, *, names: tuple[str, str], tile: int) -> None:
        import torch

        require(tile >= 1, f"tile must be >= 1, got {tile}")
        self._rows, self._columns = (_as_float32(name, part) for name, part in zip(names, (rows, columns), strict=True))
        require(
            self._rows.shape[1] == self._columns.shape[1],
            f"{names[0]} and {names[1]} must have the same dim, got {self._rows.shape[1]} and {self._columns.shape[1]}",
        )
        self.num_rows, self.num_columns, self._tile = len(self._rows), len(self._columns), tile
        self.order: NDArray[np.int64] = np.arange(self.num_rows)
        self._product = torch.empty(tile, tile)

    def sort_rows_by(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        """Walk the rows in the order of a key from now on; returns the place of each row in that order."""
        self.order = np.argsort(key, kind="stable")
        place = np.empty_like(self.order)
        place[self.order] = np.arange(self.num_rows)
        return place

    def walk(self, wanted: Collection[tuple[int, int]] | None = None) -> Iterator[tuple[slice, slice, Tensor]]:
        """Each tile's places of rows, columns and scores; the scores are overwritten by the next tile's.

        Args:
            wanted: numbers of the tiles, down and across; None: all.
        """
        import torch

        down, across = (-(-count // self._tile) for count in (self.num_rows, self.num_columns))
        wanted_down = None if wanted is None else {row for row, _ in wanted}
        for i in range(down):
            if wanted_down is not None and i not in wanted_down:
                continue
            rows = slice(i * self._tile, min((i + 1) * self._tile, self.num_rows))
            left = self._padded(self._rows[torch.from_numpy(self.order[rows])])
            for j in range(across):
                if wanted is not None and (i, j) not in wanted:
                    continue
                columns = slice(j * self._tile, min((j + 1) * self._tile, self.num_columns))
                torch.mm(left, self._padded(self._columns[columns]).T, out=self._product)
                yield rows, columns, self._product[: rows.stop - rows.start, : columns.stop - columns.start]

    def scores_of(self, places: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of single pairs, each taken from the product of its tile."""
        tile_of_pair = np.stack([places, columns]) // self._tile
        tiles, pair_tile = np.unique(tile_of_pair, axis=1, return_inverse=True)
        in_order = np.argsort(pair_tile, kind="stable")
        pairs_of_tile = np.split(in_order, np.cumsum(np.bincount(pair_tile))[:-1])
        by_tile = {(int(i), int(j)): pairs for (i, j), pairs in zip(tiles.T, pairs_of_tile, strict=True)}
        scores = np.empty(len(places), dtype=np.float32)
        for down, across, product in self.walk(by_tile.keys()):
            pairs = by_tile[down.start // self._tile, across.start // self._tile]
            scores[pairs] = product.numpy()[places[pairs] - down.start, columns[pairs] - across.start]
        return scores

    def _padded(self, block: Tensor) -> Tensor:
        if len(block) == self._tile:
            return block
        filled = block.new_zeros(self._tile, block.shape[1])
        filled[: len(block)] = block
        return filled


class _Counter:
    """For each entry of one axis how many scores are above, and how many at or above, the score it defends."""

    def __init__(self, best: NDArray[np.float32], *, dim: int, tile: int) -> None:
        import torch

        self._best, self._dim = torch.from_numpy(best), dim
        self._above, self._reached = (torch.zeros(len(best), dtype=torch.int64) for _ in range(2))
        self._scratch = torch.empty(tile * tile)

    def add(self, where: slice, scores: Tensor) -> None:
        import torch

        best = self._best[where].unsqueeze(self._dim)
        scratch = self._scratch[: scores.numel()].view(scores.shape)
        # comparing into float32 and adding that is several times faster than bool; a tile's counts are exact in it
        self._above[where] += torch.gt(scores, best, out=scratch).sum(self._dim).long()
        self._reached[where] += torch.ge(scores, best, out=scratch).sum(self._dim).long()

    def ranking(self, entries: NDArray[np.int64], own_tied: NDArray[np.int64], *, num_gallery: int) -> Ranking:
        """The ranking of the queries at these places; `own_tied` of each one's correct entries share the best score."""
        above, reached = (counts.numpy()[entries] for counts in (self._above, self._reached))
        return Ranking(better=above, tied=reached - above - own_tied, positives_tied=own_tied, num_gallery=num_gallery)


class _GroupCounter:
    """Along columns as `_Counter`, but of each group of rows only the best score counts.

    Rows of one group follow each other. A group that reaches into the next tile waits with its best so far.
    """

    def __init__(self, group_of_row: NDArray[np.int64], best: NDArray[np.float32], *, tile: int) -> None:
        import torch

        self.counter = _Counter(best, dim=0, tile=tile)
        self._groups = torch.from_numpy(group_of_row)
        self._waiting = torch.empty(len(best))
        self._maxima = torch.empty(tile, tile)

    def add(self, rows: slice, columns: slice, scores: Tensor) -> None:
        groups = self._groups[rows]
        first, last = int(groups[0]), int(groups[-1])
        maxima = self._maxima[: last - first + 1, : scores.shape[1]].fill_(float("-inf"))
        if rows.start > 0 and int(self._groups[rows.start - 1]) == first:
            maxima[0] = self._waiting[columns]
        maxima.scatter_reduce_(0, (groups - first)[:, None].expand_as(scores), scores, "amax")
        if rows.stop < len(self._groups) and int(self._groups[rows.stop]) == last:
            self._waiting[columns] = maxima[-1]
            maxima = maxima[:-1]
        self.counter.add(columns, maxima)


def _as_float32(name: str, embeddings: Matrix) -> Tensor:
    import torch

    require(
        embeddings.ndim == 2 and min(embeddings.shape) > 0,
        f"{name} must be (row, dim) with at least one of each, got shape {tuple(embeddings.shape)}",
    )
    if isinstance(embeddings, np.ndarray):
        is_shared = embeddings.dtype == np.float32 and embeddings.flags.writeable
        with np.errstate(over="ignore"):  # what is too large is refused by its row
            tensor = torch.from_numpy(embeddings if is_shared else embeddings.astype(np.float32))
    else:
        tensor = embeddings.detach().to("cpu", torch.float32)
    _require_usable_rows(name, tensor)
    return tensor


def _require_usable_rows(name: str, tensor: Tensor) -> None:
    """Refuse by its number a row that has no direction, or whose products may be no numbers."""
    for first in range(0, len(tensor), _CHECKED_ROWS):
        norms = tensor[first : first + _CHECKED_ROWS].double().square().sum(1).sqrt().numpy()
        is_bad = ~((norms > 0) & (norms < _LONGEST))
        if is_bad.any():
            row = int(np.argmax(is_bad))
            norm = float(norms[row])
            what = "only zeros: drop the padding" if norm == 0 else f"norm {norm:.3g}: look at what was encoded there"
            raise ValueError(f"{name} must have finite rows that are not zero, got row {first + row} of {what}")

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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.metrics.alignment import Ids, checked_owner, require_unique_ids
from conical.metrics.ranks import Matrix, Positives, Ranking, flat_positives
from conical.metrics.tiles import GroupCounter, ProductTiles, ScoreCounter

# 1,024 x 1,024 float32 scores are 4 MB: large enough for the product's full speed, small enough to be counted in cache
TILE = 1024


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
        queries: (query, dim), NumPy or torch, any real type, brought to the CPU; normalise first for cosines.
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
    tiles = ProductTiles(queries, gallery, names=("queries", "gallery"), tile=tile)
    require_unique_ids("query_ids", query_ids, count=tiles.num_rows)
    require_unique_ids("gallery_ids", gallery_ids, count=tiles.num_columns)
    columns, starts = flat_positives(positives, num_queries=tiles.num_rows, num_gallery=tiles.num_columns)
    counts = np.diff(starts)
    place = tiles.sort_rows_by(columns[starts[:-1]])
    own = tiles.scores_of(np.repeat(place, counts), columns)
    best, positives_tied = _best_of(own, starts)
    counter = ScoreCounter(best[tiles.order], dim=1, tile=tile)
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
        text: (text, dim), NumPy or torch, any real type, brought to the CPU; normalise first for cosines.
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
    tiles = ProductTiles(text, video, names=("text", "video"), tile=tile)
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

    by_row, by_column = ScoreCounter(own, dim=1, tile=tile), ScoreCounter(best_of_column, dim=0, tile=tile)
    by_group = GroupCounter(group_of_text, best_of_column, tile=tile) if has_groups else None
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

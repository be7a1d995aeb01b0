"""Ranks of queries, from a matrix of scores or straight from embeddings: exact, by one walk over tiles of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice
from conical.metrics.alignment import Ids, Positives, checked_owner, flat_positives, require_unique_ids
from conical.metrics.ranking import TIES, Ranking
from conical.metrics.tile_counts import BothRankings, count_both, count_rows
from conical.metrics.tiles import TILE, Matrix, MatrixTiles, ProductTiles


def ranks(
    similarity: Matrix, positives: Positives | None = None, ties: str = "expected", *, block_rows: int = TILE
) -> NDArray[np.float64]:
    """Rank of the best correct column of each row, from 1.

    Args:
        similarity: (query, gallery), NumPy or torch; half precision is widened, infinities are ordinary scores.
        positives: per query the columns that are correct (one or more; the best counts), or a vector with the one
            correct column of each query; None: column i is correct for row i.
        ties: `"expected"`, `"optimistic"` or `"pessimistic"`, see `conical.metrics.ranking`.
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


def rank_queries(similarity: Matrix, positives: Positives | None = None, *, block_rows: int = TILE) -> Ranking:
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
    return count_rows(MatrixTiles(similarity, block_rows=block_rows), columns, starts)


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
        query_ids: one per query, checked for padding and repetition.
        gallery_ids: the same for the gallery.
        tile: rows of queries and of the gallery in one product, at least 1. Memory grows with its square; a score may
            change in its last digit with it, see `conical.metrics.tiles`.

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
    return count_rows(tiles, *flat_positives(positives, num_queries=tiles.num_rows, num_gallery=tiles.num_columns))


def rank_both_directions(
    text: Matrix,
    video: Matrix,
    *,
    text_video: NDArray[np.integer[Any]] | None = None,
    text_ids: Ids | None = None,
    video_ids: Ids | None = None,
    tile: int = TILE,
) -> BothRankings:
    """Rank text to video and video to text by dot product in one sweep over the tiles of the product.

    Args:
        text: (text, dim), NumPy or torch, any real type, brought to the CPU; normalise first for cosines.
        video: (video, dim).
        text_video: (text,) for each text the row of its video; None: text i belongs to video i. Videos without a text
            are distractors in t2v and no queries in v2t.
        text_ids: one per text, checked for padding and repetition.
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
    return count_both(tiles, owner)

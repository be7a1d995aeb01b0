"""Score similarities or embeddings that somebody else computed: the same ranks, ties and intervals as for our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DataError
from conical.core.options import require
from conical.metrics import (
    DirectionMetrics,
    direction_metrics,
    embedding_metrics,
    rank_embeddings,
    rank_queries,
    retrieval_metrics,
)
from conical.metrics.tiles import as_array

# rescoring needs the whole matrix: so many float32 are 1.6 GB
_LARGEST_MATRIX = 400_000_000

Positives = Sequence[Sequence[int]]
Rescore = Callable[[NDArray[Any]], NDArray[Any]]


def fuse(matrices: Sequence[NDArray[Any]], weights: Sequence[float]) -> NDArray[Any]:
    """Weighted sum of matrices of one shape, in float32 or wider.

    Args:
        matrices: at least one, (query, gallery) each.
        weights: one per matrix, finite; they need not add up to 1.

    Returns:
        (query, gallery).

    Raises:
        DataError: shapes differ, or the weights do not fit.

    >>> fuse([np.array([[1.0]]), np.array([[3.0]])], [0.5, 0.25]).tolist()
    [[1.25]]
    """
    shapes = list(dict.fromkeys(matrix.shape for matrix in matrices))
    if len(shapes) != 1:
        listed = ", ".join(" x ".join(map(str, shape)) for shape in shapes)
        raise DataError(f"matrices to fuse must have one shape, got {listed}: the same queries and gallery in each")
    if len(weights) != len(matrices):
        raise DataError(f"fuse needs one weight for each of the {len(matrices)} matrices, got {len(weights)}")
    if not np.isfinite(weights).all() or not np.any(weights):
        raise DataError(f"weights to fuse with must be finite and not all 0, got {', '.join(map(str, weights))}")
    total = as_array(matrices[0]) * weights[0]
    with np.errstate(invalid="ignore"):  # infinity less infinity is refused with its row when it is ranked
        for matrix, weight in zip(matrices[1:], weights[1:], strict=True):
            total = total + as_array(matrix) * weight
    return total


def score_similarity(
    similarity: NDArray[Any],
    positives: Positives | None = None,
    *,
    rescore: Rescore | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, DirectionMetrics]:
    """Metrics of a matrix of scores.

    Args:
        similarity: (query, gallery): rows are texts, columns are videos.
        positives: the correct columns of each row; None: column i for row i.
        rescore: applied to each direction with its queries as rows.
        num_resamples: of the bootstrap, at least 1.

    Returns:
        Direction to metrics: t2v; where each text has one video, v2t by groups of texts; v2t_any, where a video has
        several texts. Queries of one video are resampled together; where a text has several videos, each for itself.

    Raises:
        ValueError: a shape or number is wrong, or a score is NaN.
    """
    bootstrap: dict[str, Any] = {"num_resamples": num_resamples, "seed": seed}
    if positives is None or all(len(set(columns)) == 1 for columns in positives):
        owner = None if positives is None else _owner(positives)
        return retrieval_metrics(similarity, text_video=owner, rescore=rescore, **bootstrap).directions()
    videos, texts_of_video = _reversed(positives)
    change = rescore or (lambda scores: scores)
    t2v = rank_queries(change(as_array(similarity)), positives)
    v2t_any = rank_queries(change(as_array(similarity).T[videos]), texts_of_video)
    return {"t2v": direction_metrics(t2v, **bootstrap), "v2t_any": direction_metrics(v2t_any, **bootstrap)}


def score_embeddings(
    text: NDArray[Any],
    video: NDArray[Any],
    positives: Positives | None = None,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, DirectionMetrics]:
    """Metrics of embeddings by dot product, without the matrix of scores; else as `score_similarity`.

    Args:
        text: (text, dim).
        video: (video, dim).
        positives: the correct videos of each text; None: video i for text i.
        num_resamples: of the bootstrap, at least 1.

    Raises:
        ValueError: a shape is wrong, or a row is zero, NaN or infinite.
    """
    bootstrap: dict[str, Any] = {"num_resamples": num_resamples, "seed": seed}
    if positives is None or all(len(set(columns)) == 1 for columns in positives):
        owner = None if positives is None else _owner(positives)
        return embedding_metrics(text, video, text_video=owner, **bootstrap).directions()
    videos, texts_of_video = _reversed(positives)
    t2v = rank_embeddings(text, video, positives)
    v2t_any = rank_embeddings(video[videos], text, texts_of_video)
    return {"t2v": direction_metrics(t2v, **bootstrap), "v2t_any": direction_metrics(v2t_any, **bootstrap)}


def dot_products(text: NDArray[Any], video: NDArray[Any]) -> NDArray[np.float32]:
    """The whole matrix of dot products, for what needs it whole.

    Raises:
        DataError: it would not fit into ordinary memory.
    """
    if len(text) * len(video) > _LARGEST_MATRIX:
        raise DataError(
            f"rescoring needs the whole matrix, and {len(text)} x {len(video)} is more than {_LARGEST_MATRIX} scores: "
            "leave --rescore out"
        )
    return np.asarray(text, dtype=np.float32) @ np.asarray(video, dtype=np.float32).T


def unit_rows(name: str, embeddings: NDArray[Any]) -> NDArray[np.float32]:
    """Rows brought to length 1, so that dot products are cosines.

    Raises:
        ValueError: a row is zero, NaN or infinite.
    """
    lengths = row_lengths(embeddings)
    is_bad = ~(np.isfinite(lengths) & (lengths > 0))
    require(not is_bad.any(), f"{name} must have finite rows that are not zero, got row {int(np.argmax(is_bad))}")
    unit: NDArray[np.float32] = np.divide(embeddings, lengths[:, None], dtype=np.float32, casting="same_kind")
    return unit


def row_lengths(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """Euclidean length of each row, without a wider copy of the whole."""
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("rd,rd->r", embeddings, embeddings, dtype=np.float64))
    return lengths


def _owner(positives: Positives) -> NDArray[np.int64]:
    return np.array([columns[0] for columns in positives], dtype=np.int64)


def _reversed(positives: Positives) -> tuple[list[int], list[list[int]]]:
    """The columns that are correct for some row, and those rows."""
    rows_of: dict[int, list[int]] = {}
    for row, columns in enumerate(positives):
        for column in set(columns):
            rows_of.setdefault(column, []).append(row)
    videos = sorted(rows_of)
    return videos, [rows_of[video] for video in videos]

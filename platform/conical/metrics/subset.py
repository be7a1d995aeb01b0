"""Metrics of some of the queries. Each still ranks the whole gallery, so that it is as hard as among all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.ranking import Ranking
from conical.metrics.recall import DirectionMetrics, RetrievalMetrics, direction_metrics


def restrict_queries(
    metrics: RetrievalMetrics, *, text_video: NDArray[np.integer[Any]], videos: NDArray[np.bool_], **bootstrap: Any
) -> RetrievalMetrics:
    """The same ranks, over the queries of some videos only.

    Args:
        text_video: (text,) column of each text's video, as `metrics` was made with.
        videos: (video,) whether the video's queries count: its texts in t2v, itself in v2t.
        bootstrap: `num_resamples`, `confidence` and `seed`, as for `direction_metrics`.

    Returns:
        Metrics over fewer queries and the same galleries; queries of one video are resampled together.

    Raises:
        ValueError: shapes differ, or no query is left.

    Text 0 is found at once, text 1 second; of video 0 alone the metric is perfect:

    >>> from conical.metrics import retrieval_metrics
    >>> whole = retrieval_metrics(np.array([[0.9, 0.1], [0.8, 0.2]]))
    >>> part = restrict_queries(whole, text_video=np.arange(2), videos=np.array([True, False]))
    >>> whole.t2v.R1, part.t2v.R1, part.t2v.num_queries, part.t2v.num_gallery
    (50.0, 100.0, 1, 2)
    """
    owner = np.asarray(text_video)
    require(
        owner.shape == (metrics.t2v.num_queries,),
        f"text_video must have one column for each of the {metrics.t2v.num_queries} texts, got shape {owner.shape}",
    )
    require(
        videos.shape == (metrics.t2v.num_gallery,) and videos.dtype == np.bool_,
        f"videos must be {metrics.t2v.num_gallery} booleans, one per video, got {videos.dtype} of shape {videos.shape}",
    )
    # v2t has one query a video that has a text, in the order of the columns
    asked = np.unique(owner)
    of_text, of_video = videos[owner], videos[asked]
    require(bool(of_text.any()), "no query is left: none of the chosen videos has a text")

    def part(found: DirectionMetrics, chosen: NDArray[np.bool_], groups: NDArray[Any]) -> DirectionMetrics:
        return direction_metrics(_rows(found.ranking, chosen), groups=groups[chosen], **bootstrap)

    return RetrievalMetrics(
        t2v=part(metrics.t2v, of_text, owner),
        v2t=part(metrics.v2t, of_video, asked),
        v2t_any=None if metrics.v2t_any is None else part(metrics.v2t_any, of_video, asked),
    )


def _rows(ranking: Ranking, chosen: NDArray[np.bool_]) -> Ranking:
    return Ranking(
        better=ranking.better[chosen],
        tied=ranking.tied[chosen],
        positives_tied=ranking.positives_tied[chosen],
        num_gallery=ranking.num_gallery,
    )

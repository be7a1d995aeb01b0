"""R@1, R@5, R@10, MedR and MeanR, text to video and video to text.

A similarity matrix has one row a text and one column a video; `text_video` says which video each text belongs to, which
covers one caption a video (MSR-VTT 1k-A), paragraphs (DiDeMo) and many captions a video (MSVD). For video to text with
several captions a video the literature has two rules; both are computed:

    v2t       rank the videos' caption groups, each by its best caption (CLIP4Clip's)
    v2t_any   rank all captions singly; the best of the own ones counts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.alignment import Ids, checked_groups, checked_owner, require_unique_ids
from conical.metrics.blockwise import TILE, rank_both_directions
from conical.metrics.names import METRICS
from conical.metrics.ranks import Matrix, Ranking, as_array, rank_queries
from conical.metrics.significance import Interval, bootstrap_intervals, point_value

Rescore: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionMetrics:
    """Metrics of one direction.

    Args:
        R1: percent of queries with a correct entry in first place, 0 to 100; ties count by their probability.
        R5: the same for the first 5.
        R10: the same for the first 10.
        MedR: median rank, from 1.
        MeanR: mean of the ranks, from 1 (not the mean of the recalls).
        intervals: metric to bootstrap interval over queries, resampled by video.
        tie_bounds: metric to its values under the two extreme tie rules; one point without ties.
        num_queries: number of queries.
        num_gallery: number of entries each query ranks.
        ranking: per query.
    """

    R1: float
    R5: float
    R10: float
    MedR: float
    MeanR: float
    intervals: Mapping[str, Interval]
    tie_bounds: Mapping[str, Interval]
    num_queries: int
    num_gallery: int
    ranking: Ranking

    def __post_init__(self) -> None:
        assert 0 <= self.R1 <= self.R5 <= self.R10 <= 100 + 1e-9, (self.R1, self.R5, self.R10)
        assert 1 <= self.MedR <= self.num_gallery, self.MedR
        assert 1 <= self.MeanR <= self.num_gallery, self.MeanR

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.2f}" for name, value in self.values().items())
        ties = ", has_ties" if self.has_ties else ""
        return f"DirectionMetrics({values}, queries={self.num_queries}, gallery={self.num_gallery}{ties})"

    @property
    def has_ties(self) -> bool:
        """Whether the tie rule matters for any query."""
        return self.ranking.has_ties

    @property
    def ranks(self) -> NDArray[np.float64]:
        """(num_queries,) expected ranks from 1."""
        return self.ranking.values()

    def values(self) -> dict[str, float]:
        """Metric to value, in the order of `METRICS`."""
        return {name: float(getattr(self, name)) for name in METRICS}


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrievalMetrics:
    """Metrics of both directions.

    Args:
        t2v: each text ranks the videos.
        v2t: each video that has texts ranks the groups of texts.
        v2t_any: each video ranks all texts; None where no video has several, since it then equals `v2t`.
    """

    t2v: DirectionMetrics
    v2t: DirectionMetrics
    v2t_any: DirectionMetrics | None = None

    def directions(self) -> dict[str, DirectionMetrics]:
        """Direction to metrics, for those that exist."""
        found = {"t2v": self.t2v, "v2t": self.v2t, "v2t_any": self.v2t_any}
        return {name: metrics for name, metrics in found.items() if metrics is not None}


def retrieval_metrics(
    similarity: Matrix,
    *,
    text_video: NDArray[np.integer[Any]] | None = None,
    video_groups: NDArray[Any] | None = None,
    rescore: Rescore | None = None,
    rescore_v2t: Rescore | None = None,
    text_ids: Ids | None = None,
    video_ids: Ids | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> RetrievalMetrics:
    """Metrics of a matrix of scores, with intervals.

    Args:
        similarity: (text, video) scores, NumPy or torch; higher is nearer.
        text_video: (text,) for each row the column of its video; None: row i belongs to column i. Videos without a
            text are distractors in t2v and no queries in v2t.
        video_groups: (video,) labels, for example the source a clip was cut from; queries of one group are resampled
            together. None: each video is a group.
        rescore: maps (query, gallery) scores to new ones, for example `dual_softmax`; applied to each direction with
            its queries as rows. Name such numbers with their family.
        rescore_v2t: for video to text another one, for example `qb_norm` with a bank of videos; None: `rescore`.
        text_ids: one a row; padding and repetition are refused.
        video_ids: one a column; padding and repetition are refused.
        num_resamples: of the bootstrap, at least 1.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap.

    Returns:
        t2v, v2t and, where a video has several texts, v2t_any.

    Raises:
        ValueError: a shape, column or number is wrong, or a score is NaN.

    Two of three texts find their video; video 1 finds its text too:

    >>> metrics = retrieval_metrics(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), text_video=np.array([0, 1, 1]))
    >>> round(metrics.t2v.R1, 1), metrics.t2v.MedR, metrics.v2t.R1
    (66.7, 1.0, 100.0)
    """
    require(
        similarity.ndim == 2 and min(similarity.shape) > 0,
        f"similarity must be (text, video), got shape {tuple(similarity.shape)}",
    )
    num_texts, num_videos = similarity.shape
    require_unique_ids("text_ids", text_ids, count=num_texts)
    require_unique_ids("video_ids", video_ids, count=num_videos)
    owner = checked_owner(text_video, num_texts=num_texts, num_videos=num_videos)
    bootstrap: dict[str, Any] = {"num_resamples": num_resamples, "confidence": confidence, "seed": seed}
    labels = checked_groups(video_groups, num_videos=num_videos)
    videos, group_of_text = np.unique(owner, return_inverse=True)

    text_to_video = similarity if rescore is None else rescore(as_array(similarity))
    t2v = direction_metrics(rank_queries(text_to_video, owner), groups=labels[owner], **bootstrap)

    video_to_text = as_array(similarity).T[videos]
    rescore_v2t = rescore_v2t or rescore
    if rescore_v2t is not None:
        video_to_text = rescore_v2t(video_to_text)
    order = np.argsort(group_of_text, kind="stable")
    first_of_group = np.searchsorted(group_of_text[order], np.arange(len(videos)))
    by_group = np.maximum.reduceat(video_to_text[:, order], first_of_group, axis=1)
    v2t = direction_metrics(rank_queries(by_group), groups=labels[videos], **bootstrap)
    if len(videos) == len(owner):
        return RetrievalMetrics(t2v=t2v, v2t=v2t)
    own_texts = np.split(order, first_of_group[1:])
    v2t_any = direction_metrics(rank_queries(video_to_text, own_texts), groups=labels[videos], **bootstrap)
    return RetrievalMetrics(t2v=t2v, v2t=v2t, v2t_any=v2t_any)


def embedding_metrics(
    text: Matrix,
    video: Matrix,
    *,
    text_video: NDArray[np.integer[Any]] | None = None,
    video_groups: NDArray[Any] | None = None,
    text_ids: Ids | None = None,
    video_ids: Ids | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    tile: int = TILE,
) -> RetrievalMetrics:
    """Metrics of embeddings by dot product, exactly, without holding the matrix of scores.

    Args:
        text: (text, dim), NumPy or torch, any real type; normalise first for cosines.
        video: (video, dim).
        text_video: as for `retrieval_metrics`.
        video_groups: as for `retrieval_metrics`.
        text_ids: one a text; padding and repetition are refused.
        video_ids: one a video; padding and repetition are refused.
        num_resamples: of the bootstrap, at least 1.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap.
        tile: see `rank_embeddings`.

    Returns:
        t2v, v2t and, where a video has several texts, v2t_any.

    Raises:
        ValueError: a shape, id or number is wrong, or a row is zero (padding), NaN or infinite.

    >>> embedding_metrics(np.eye(3), np.eye(3)[[0, 2, 1]]).t2v.MeanR
    2.0
    """
    bootstrap: dict[str, Any] = {"num_resamples": num_resamples, "confidence": confidence, "seed": seed}
    found = rank_both_directions(text, video, text_video=text_video, text_ids=text_ids, video_ids=video_ids, tile=tile)
    owner = checked_owner(text_video, num_texts=len(text), num_videos=len(video))
    labels = checked_groups(video_groups, num_videos=len(video))
    of_texts, of_videos = labels[owner], labels[np.unique(owner)]
    t2v = direction_metrics(found.t2v, groups=of_texts, **bootstrap)
    v2t = direction_metrics(found.v2t, groups=of_videos, **bootstrap)
    if found.v2t_any is None:
        return RetrievalMetrics(t2v=t2v, v2t=v2t)
    return RetrievalMetrics(t2v=t2v, v2t=v2t, v2t_any=direction_metrics(found.v2t_any, groups=of_videos, **bootstrap))


def direction_metrics(
    ranking: Ranking,
    *,
    groups: NDArray[Any] | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> DirectionMetrics:
    """Metrics of one direction out of its ranking.

    Args:
        ranking: of its queries.
        groups: (query,) any labels; queries that share one are resampled together.
        num_resamples: of the bootstrap, at least 1.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap.

    Raises:
        ValueError: a number or the shape of `groups` is wrong.
    """
    return DirectionMetrics(
        **{name: point_value(ranking, name) for name in METRICS},
        intervals=bootstrap_intervals(
            ranking, groups=groups, num_resamples=num_resamples, confidence=confidence, seed=seed
        ),
        tie_bounds={name: _tie_bounds(ranking, name) for name in METRICS},
        num_queries=len(ranking),
        num_gallery=ranking.num_gallery,
        ranking=ranking,
    )


def _tie_bounds(ranking: Ranking, metric: str) -> Interval:
    low, high = sorted(point_value(ranking.values(ties), metric) for ties in ("optimistic", "pessimistic"))
    return Interval(low=low, high=high)

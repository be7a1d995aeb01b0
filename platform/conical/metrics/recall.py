"""R@1, R@5, R@10, MedR and MeanR, text to video and video to text.

A similarity matrix has one row per text and one column per video; `text_video` says which video each text belongs to,
which covers one caption per video (MSR-VTT 1k-A), paragraphs (DiDeMo) and many captions per video (MSVD). For video to
text with several captions per video the literature has two rules; both are computed:

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
from conical.metrics.names import METRICS
from conical.metrics.ranking import Ranking
from conical.metrics.ranks import rank_both_directions, rank_queries
from conical.metrics.resampling import point_value
from conical.metrics.significance import Interval, bootstrap_intervals
from conical.metrics.tile_counts import BothRankings, count_both
from conical.metrics.tiles import TILE, Matrix, MatrixTiles, as_array
from conical.metrics.values import MetricValue

Rescore: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionMetrics:
    """Metrics of one direction.

    Args:
        metrics: each of `METRICS` with its bootstrap interval over queries, resampled by video, and its values under
            the two extreme tie rules, which are equal without ties.
    """

    metrics: Mapping[str, MetricValue]
    ranking: Ranking

    def __post_init__(self) -> None:
        assert tuple(self.metrics) == METRICS, tuple(self.metrics)
        assert 0 <= self.R1 <= self.R5 <= self.R10 <= 100 + 1e-9, (self.R1, self.R5, self.R10)
        assert 1 <= self.MedR <= self.num_gallery, self.MedR
        assert 1 <= self.MeanR <= self.num_gallery, self.MeanR

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.2f}" for name, value in self.values().items())
        ties = ", has_ties" if self.has_ties else ""
        return f"DirectionMetrics({values}, queries={self.num_queries}, gallery={self.num_gallery}{ties})"

    @property
    def R1(self) -> float:  # noqa: N802  the field's name
        """Percent of queries with a correct entry in first place, 0 to 100; ties count by their probability."""
        return self.metrics["R1"].value

    @property
    def R5(self) -> float:  # noqa: N802
        """The same for the first 5."""
        return self.metrics["R5"].value

    @property
    def R10(self) -> float:  # noqa: N802
        """The same for the first 10."""
        return self.metrics["R10"].value

    @property
    def MedR(self) -> float:  # noqa: N802
        """Median rank, from 1."""
        return self.metrics["MedR"].value

    @property
    def MeanR(self) -> float:  # noqa: N802
        """Mean of the ranks, from 1 (not the mean of the recalls)."""
        return self.metrics["MeanR"].value

    @property
    def num_queries(self) -> int:
        """Number of queries."""
        return len(self.ranking)

    @property
    def num_gallery(self) -> int:
        """Number of entries each query ranks."""
        return self.ranking.num_gallery

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
        return {name: metric.value for name, metric in self.metrics.items()}


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

    def by_name(self) -> dict[str, MetricValue]:
        """`t2v/R1` to `v2t_any/MeanR` and their values."""
        return {
            f"{direction}/{name}": metric
            for direction, found in self.directions().items()
            for name, metric in found.metrics.items()
        }


def retrieval_metrics(
    similarity: Matrix,
    *,
    text_video: NDArray[np.integer[Any]] | None = None,
    video_groups: NDArray[Any] | None = None,
    rescore: Rescore | None = None,
    rescore_v2t: Rescore | None = None,
    text_ids: Ids | None = None,
    video_ids: Ids | None = None,
    num_resamples: int | None = 1000,
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
        text_ids: one per row; padding and repetition are refused.
        video_ids: one per column; padding and repetition are refused.
        num_resamples: of the bootstrap, at least 1; None: no intervals.
        confidence: of the intervals, in (0, 1).

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
    found = _rankings(similarity, owner, rescore=rescore, rescore_v2t=rescore_v2t or rescore)
    bootstrap: dict[str, Any] = {"num_resamples": num_resamples, "confidence": confidence, "seed": seed}
    return _metrics_of(found, owner, checked_groups(video_groups, num_videos=num_videos), **bootstrap)


def _rankings(
    similarity: Matrix, owner: NDArray[np.int64], *, rescore: Rescore | None, rescore_v2t: Rescore | None
) -> BothRankings:
    """Of scores as they are in one walk; rescored ones are another matrix in each direction."""
    if rescore is None and rescore_v2t is None:
        return count_both(MatrixTiles(similarity), owner)
    scores = as_array(similarity)
    t2v = rank_queries(scores if rescore is None else rescore(scores), owner)
    videos, group_of_text = np.unique(owner, return_inverse=True)
    by_video = scores.T[videos]
    back = count_both(MatrixTiles((by_video if rescore_v2t is None else rescore_v2t(by_video)).T), group_of_text)
    return BothRankings(t2v=t2v, v2t=back.v2t, v2t_any=back.v2t_any)


def embedding_metrics(
    text: Matrix,
    video: Matrix,
    *,
    text_video: NDArray[np.integer[Any]] | None = None,
    video_groups: NDArray[Any] | None = None,
    text_ids: Ids | None = None,
    video_ids: Ids | None = None,
    num_resamples: int | None = 1000,
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
        text_ids: one per text; padding and repetition are refused.
        video_ids: one per video; padding and repetition are refused.
        num_resamples: of the bootstrap, at least 1; None: no intervals.
        confidence: of the intervals, in (0, 1).
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
    return _metrics_of(found, owner, checked_groups(video_groups, num_videos=len(video)), **bootstrap)


def _metrics_of(
    found: BothRankings, owner: NDArray[np.int64], labels: NDArray[Any], **bootstrap: Any
) -> RetrievalMetrics:
    """Texts are resampled by the label of their video, and so is each video that has texts."""
    of_texts, of_videos = labels[owner], labels[np.unique(owner)]
    return RetrievalMetrics(
        t2v=direction_metrics(found.t2v, groups=of_texts, **bootstrap),
        v2t=direction_metrics(found.v2t, groups=of_videos, **bootstrap),
        v2t_any=None if found.v2t_any is None else direction_metrics(found.v2t_any, groups=of_videos, **bootstrap),
    )


def direction_metrics(
    ranking: Ranking,
    *,
    groups: NDArray[Any] | None = None,
    num_resamples: int | None = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> DirectionMetrics:
    """Metrics of one direction out of its ranking.

    Args:
        groups: (query,) any labels; queries that share one are resampled together.
        num_resamples: of the bootstrap, at least 1; None: no intervals.
        confidence: of the intervals, in (0, 1).

    Raises:
        ValueError: a number or the shape of `groups` is wrong.
    """
    intervals: Mapping[str, Interval] = {}
    if num_resamples is not None:
        intervals = bootstrap_intervals(
            ranking, groups=groups, num_resamples=num_resamples, confidence=confidence, seed=seed
        )
    return DirectionMetrics(
        metrics={name: _metric_value(ranking, name, intervals.get(name)) for name in METRICS}, ranking=ranking
    )


def _metric_value(ranking: Ranking, metric: str, interval: Interval | None) -> MetricValue:
    tie_low, tie_high = sorted(point_value(ranking.values(ties), metric) for ties in ("optimistic", "pessimistic"))
    return MetricValue(
        value=point_value(ranking, metric),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        tie_low=tie_low,
        tie_high=tie_high,
    )

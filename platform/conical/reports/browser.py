"""The error browser: single queries of two runs side by side, those that lost most first.

ErrorBrowser
├── clips   Clip: what a video looks like and what is said about it, kept once however often it is retrieved
└── views   BrowserView: one direction of a run against another (or of a run alone)
            └── cases   QueryCase: one query with an Outcome a run, each the rank and the first Hits
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice
from conical.reports.samples import DIRECTIONS


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Clip:
    """A video as a reader sees it.

    Args:
        supplements: (prompt, text) of what the captioner wrote about it.
        filmstrip: uint8, (num_frames, height, width, 3), RGB, in time order.
    """

    video_id: str
    captions: tuple[str, ...]
    supplements: tuple[tuple[str, str], ...]
    filmstrip: NDArray[np.uint8]

    def __post_init__(self) -> None:
        frames = self.filmstrip
        require(
            frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3 and frames.size > 0,
            f"filmstrip of {self.video_id} must be uint8 (num_frames, height, width, 3), got "
            f"{frames.dtype} {frames.shape}",
        )

    def __repr__(self) -> str:
        return f"Clip({self.video_id!r}, captions={len(self.captions)}, filmstrip={self.filmstrip.shape})"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One retrieved item.

    Args:
        video_id: the video; for a retrieved caption, the video it was written for.
        score: its similarity to the query.
        is_correct: whether it belongs to the query.
        text: the retrieved caption; empty where a video was retrieved.
    """

    video_id: str
    score: float
    is_correct: bool
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run made of a query.

    Args:
        rank: 1-based rank of the correct item, fractional where ties share their mean.
    """

    label: str
    rank: float
    hits: tuple[Hit, ...]

    def __post_init__(self) -> None:
        require(self.rank >= 1, f"rank must be >= 1, got {self.rank}")


@dataclass(frozen=True, kw_only=True)
class QueryCase:
    """A query and what each run retrieved for it.

    Args:
        text: the text that was searched; in v2t, where the query is the video, a caption of it.
        video_id: the query's own video.
        outcome: of the run that is judged.
        against: of the run it is judged against; None for a run alone.
    """

    text: str
    video_id: str
    outcome: Outcome
    against: Outcome | None = None

    @property
    def doublings(self) -> float:
        """How often the rank doubled from `against` to `outcome`; above 0 lost, below 0 gained."""
        return math.log2(self.outcome.rank / self.against.rank) if self.against else 0.0

    def clip_ids(self) -> frozenset[str]:
        """Videos that are needed to show it."""
        outcomes = [outcome for outcome in (self.outcome, self.against) if outcome is not None]
        return frozenset({self.video_id, *(hit.video_id for outcome in outcomes for hit in outcome.hits)})


@dataclass(frozen=True, kw_only=True)
class BrowserView:
    """Queries of one direction, worst first.

    Args:
        label: the run that is judged.
        against: the run it is judged against; None for a run alone.
        direction: `t2v` or `v2t`.
        protocol: as in `RunRow`.
        num_lost: of all, those whose rank is higher (worse) in `label`.
        num_gained: of all, those whose rank is lower.
    """

    label: str
    against: str | None
    direction: str
    split: str
    protocol: str
    cases: tuple[QueryCase, ...]
    num_queries: int
    num_lost: int = 0
    num_gained: int = 0

    def __post_init__(self) -> None:
        require_choice("direction", self.direction, DIRECTIONS)
        require(
            all((case.against is None) == (self.against is None) for case in self.cases),
            f"every case of a view must have an outcome a run: of {self.label!r} against {self.against!r}",
        )


@dataclass(frozen=True, kw_only=True)
class ErrorBrowser:
    """All views and the clips they show.

    Args:
        views: in the order they are read.
        clips: by video id, each that a case names.
    """

    views: tuple[BrowserView, ...]
    clips: Mapping[str, Clip]

    def __post_init__(self) -> None:
        named = {video_id for view in self.views for case in view.cases for video_id in case.clip_ids()}
        missing = sorted(named - self.clips.keys())
        require(not missing, f"every clip of a case must be in clips, missing: {', '.join(missing[:3])}")


def most_changed(ranks: NDArray[np.floating], against: NDArray[np.floating], *, count: int) -> NDArray[np.int64]:
    """The queries to look at: half of them lost most, half gained most.

    A change counts by how often the rank doubled: from 1 to 20 is a query lost, from 301 to 320 is nothing.

    Args:
        ranks: (query,) 1-based, of the run that is judged.
        against: (query,) of the other run.
        count: at most so many.

    Returns:
        Indices, most lost first, most gained last; queries whose rank did not change are never among them.

    >>> most_changed(np.array([1.0, 8, 4, 2]), np.array([1.0, 2, 5, 9]), count=2)
    array([1, 3])
    """
    change = np.log2(ranks / against)
    order = np.argsort(-change, kind="stable")
    lost, gained = order[change[order] > 0], order[change[order] < 0]
    num_lost = min(len(lost), max(count // 2, count - len(gained)))
    num_gained = min(len(gained), count - num_lost)
    return np.concatenate([lost[:num_lost], gained[len(gained) - num_gained :]])


def across_ranks(ranks: NDArray[np.floating], *, count: int) -> NDArray[np.int64]:
    """The queries to look at of a run alone: half the worst, half drawn evenly from there to the best.

    Args:
        ranks: (query,) 1-based.
        count: at most so many.

    Returns:
        Indices, worst first.

    >>> across_ranks(np.array([1.0, 9, 2, 8, 3, 7]), count=4)
    array([1, 3, 5, 0])
    """
    order = np.argsort(-ranks, kind="stable")
    num_worst = min(len(order), (count + 1) // 2)
    rest = order[num_worst:]
    places = np.linspace(0, len(rest) - 1, min(len(rest), count - num_worst)).round().astype(int)
    return np.concatenate([order[:num_worst], rest[places]])

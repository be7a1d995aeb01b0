"""Results a query: ranks, and what single queries retrieved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice

DIRECTIONS = ("t2v", "v2t")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RankSample:
    """Ranks of all queries of one run.

    Args:
        label: the run.
        split: which queries.
        protocol: as in `RunRow`.
        direction: `t2v` or `v2t`.
        ranks: (num_queries,), 1-based, fractional where ties share their mean.
        num_gallery: candidates each query was ranked against.
    """

    label: str
    split: str
    protocol: str
    direction: str
    ranks: NDArray[np.floating]
    num_gallery: int

    def __post_init__(self) -> None:
        require_choice("direction", self.direction, DIRECTIONS)
        require(
            self.ranks.ndim == 1 and bool(np.all((self.ranks >= 1) & (self.ranks <= self.num_gallery))),
            f"ranks of {self.label!r} must be a vector within 1..{self.num_gallery}",
        )

    def __repr__(self) -> str:
        return f"RankSample({self.label!r}, {self.split}/{self.protocol}/{self.direction}, ranks={self.ranks.shape})"


def _require_filmstrip(name: str, frames: NDArray[np.uint8]) -> None:
    require(
        frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3 and frames.size > 0,
        f"{name} must be uint8 (num_frames, height, width, 3), got {frames.dtype} {frames.shape}",
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Hit:
    """One retrieved video.

    Args:
        video_id: which video.
        score: its similarity to the query.
        is_correct: it is the query's own video.
        captions: its human captions.
        supplements: what the captioner wrote about it.
        filmstrip: uint8, (num_frames, height, width, 3), RGB, in time order.
    """

    video_id: str
    score: float
    is_correct: bool
    captions: tuple[str, ...]
    supplements: tuple[str, ...]
    filmstrip: NDArray[np.uint8]

    def __post_init__(self) -> None:
        _require_filmstrip(f"filmstrip of {self.video_id}", self.filmstrip)

    def __repr__(self) -> str:
        return f"Hit({self.video_id!r}, score={self.score:.4g}, correct={self.is_correct}, {self.filmstrip.shape})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class QueryCase:
    """A text query and its first hits.

    Args:
        query: the text as it was searched.
        query_video_id: the video it describes.
        rank: 1-based rank of that video.
        hits: best first.
        target_filmstrip: uint8, (num_frames, height, width, 3), of the query's own video; None shows it only as a hit.
    """

    query: str
    query_video_id: str
    rank: float
    hits: tuple[Hit, ...]
    target_filmstrip: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        require(self.rank >= 1, f"rank must be >= 1, got {self.rank}")
        if self.target_filmstrip is not None:
            _require_filmstrip(f"target_filmstrip of {self.query_video_id}", self.target_filmstrip)

    def __repr__(self) -> str:
        return f"QueryCase({self.query!r}, rank={self.rank:g}, hits={list(self.hits)!r})"

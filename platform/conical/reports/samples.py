"""Values per query or gallery item: ranks, and how often an item is retrieved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require, require_choice
from conical.metrics import skewness

DIRECTIONS = ("t2v", "v2t")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RankSample:
    """Ranks of all queries of one run.

    Args:
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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HubSample:
    """How often each gallery item of one run is among the first hits.

    Args:
        protocol: as in `RunRow`.
        direction: `t2v` (items are videos) or `v2t` (items are captions).
        counts: (num_items,), from `conical.metrics.k_occurrence`.
        k: how many first hits were counted.
    """

    label: str
    split: str
    protocol: str
    direction: str
    counts: NDArray[np.floating]
    k: int
    num_queries: int

    def __post_init__(self) -> None:
        require_choice("direction", self.direction, DIRECTIONS)
        require(
            self.counts.ndim == 1 and bool(np.all((self.counts >= 0) & (self.counts <= self.num_queries + 1e-9))),
            f"counts of {self.label!r} must be a vector within 0..{self.num_queries}",
        )

    @property
    def skewness(self) -> float:
        """Above 0 where a few items are hubs."""
        return skewness(self.counts)

    @property
    def never(self) -> float:
        """Share of items, 0 to 1, that no query has among its first hits."""
        # tied items share places, so a count can be a tiny fraction
        return float(np.mean(self.counts < 0.5))

    def __repr__(self) -> str:
        return f"HubSample({self.label!r}, {self.split}/{self.protocol}/{self.direction}, counts={self.counts.shape})"

"""Results that tables and figures are made of: runs and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from conical.core.options import require, require_choice
from conical.metrics import DIRECTIONS, METRICS


@dataclass(frozen=True)
class MetricValue:
    """A metric with its 95 % interval.

    Args:
        value: percent (0 to 100) for recalls, 1-based rank for MedR and MeanR.
        low: lower end of the interval, same unit; None when no interval was computed.
        high: upper end; None exactly when `low` is.

    Raises:
        ValueError: a number is not finite, or the interval is half given or upside down.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        require(math.isfinite(self.value), f"a metric's value must be finite, got {self.value}")
        require(
            (self.low is None) == (self.high is None), f"give low and high or neither, got {self.low} and {self.high}"
        )
        if self.low is not None and self.high is not None:
            require(
                self.low <= self.high and math.isfinite(self.high - self.low),
                f"an interval needs finite low <= high, got [{self.low}, {self.high}]",
            )


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One line of a results table.

    Args:
        label: what a reader calls the run (`CEO with supplements`).
        run_id: where the run is tracked.
        protocol: `raw`, `captioned-gallery` or `paired-supplement`, with `.family` when scores were changed.
        split: `train`, `val` or `test`, with `-subset` when some of the queries were scored.
        metrics: keyed by direction and metric, `t2v/R1` to `v2t_any/MeanR`.
        num_queries: text queries that were ranked.
        num_gallery: videos they were ranked against.
        comparable: hash of what must be equal for two rows to be compared (the queries, the gallery, the settings and
            bank of a family); "" where none is known.
        has_ties: the tie rule changes at least one of the metrics.
        trained_commit: commit of the code that trained the run; "" where unknown.
        note: anything a reader must know about this run.

    Raises:
        ValueError: an unknown metric key or an empty count.
    """

    label: str
    run_id: str
    protocol: str
    split: str
    metrics: Mapping[str, MetricValue]
    num_queries: int
    num_gallery: int
    comparable: str = ""
    has_ties: bool = False
    trained_commit: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        require(self.num_queries >= 1, f"num_queries must be >= 1, got {self.num_queries}")
        require(self.num_gallery >= 1, f"num_gallery must be >= 1, got {self.num_gallery}")
        for key in self.metrics:
            require_choice(
                "metric key", key, [f"{direction}/{metric}" for direction in DIRECTIONS for metric in METRICS]
            )

    @property
    def uses_target(self) -> bool:
        """Whether the queries were written with the answer at hand."""
        return self.protocol.split(".")[0] == "paired-supplement"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric over one run.

    Args:
        label: the run.
        name: the metric (`train/loss`, `val/raw/t2v/R1`); curves of one name share a panel.
        steps: where it was measured, in `unit`.
        values: one a step; NaN leaves a gap.
        unit: unit of the steps.
    """

    label: str
    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    unit: str = "epoch"

    def __post_init__(self) -> None:
        require(
            len(self.steps) == len(self.values),
            f"curve {self.name!r} of {self.label!r} needs a value a step, got {len(self.steps)} steps and "
            f"{len(self.values)} values",
        )

"""Results that tables and figures are made of: runs and curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conical.core.options import require, require_choice
from conical.metrics import DIRECTIONS, METRICS, MetricValue


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One line of a results table.

    Args:
        label: what a reader calls the run (`CEO with supplements`).
        run_id: where the run is tracked.
        protocol: for example `raw`, with `.family` when scores were changed.
        split: `train`, `val` or `test`, with `-subset` when some of the queries were scored.
        metrics: keyed by direction and metric, `t2v/R1` to `v2t_any/MeanR`.
        num_queries: text queries that were ranked.
        num_gallery: videos they were ranked against.
        comparable: hash of what must be equal for two rows to be compared (the queries, the gallery, the settings and
            bank of a family); "" where none is known.
        has_ties: the tie rule changes at least one of the metrics.
        trained_commit: commit of the code that trained the run; "" where unknown.
        note: anything a reader must know about this run.
        uses_target: the queries were written with the answer at hand, as no deployed system can.
        is_as_loaded: no epoch was better on val than the weights as loaded: this is the untrained model.
        best_in: keys of the metrics in which it is significantly better than every other row of its table; None: that
            was not tested.

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
    uses_target: bool = False
    is_as_loaded: bool = False
    best_in: frozenset[str] | None = None

    def __post_init__(self) -> None:
        require(self.num_queries >= 1, f"num_queries must be >= 1, got {self.num_queries}")
        require(self.num_gallery >= 1, f"num_gallery must be >= 1, got {self.num_gallery}")
        for key in self.metrics:
            require_choice(
                "metric key", key, [f"{direction}/{metric}" for direction in DIRECTIONS for metric in METRICS]
            )


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric over one run.

    Args:
        name: the metric (`train/loss`, `val/raw/t2v/R1`); curves of one name share a panel.
        steps: where it was measured, in `unit`.
        values: one per step; NaN leaves a gap.
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
            f"curve {self.name!r} of {self.label!r} needs a value per step, got {len(self.steps)} steps and "
            f"{len(self.values)} values",
        )

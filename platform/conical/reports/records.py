"""Results that tables and figures are made of: runs, trials, curves, paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from conical.core.options import require, require_choice
from conical.metrics import DIRECTIONS, METRICS, MetricValue
from conical.metrics.significance import NO_DIFFERENCE

TRIAL_STATUSES = ("completed", "stopped", "failed")
VERDICTS = ("a is better", "b is better", NO_DIFFERENCE)


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

    def __post_init__(self) -> None:
        require(self.num_queries >= 1, f"num_queries must be >= 1, got {self.num_queries}")
        require(self.num_gallery >= 1, f"num_gallery must be >= 1, got {self.num_gallery}")
        for key in self.metrics:
            require_choice(
                "metric key", key, [f"{direction}/{metric}" for direction in DIRECTIONS for metric in METRICS]
            )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of a sweep.

    Args:
        number: 0-based, unique in the sweep.
        params: dotted config names (`loss.tau_tv`, `mix.human`) to numbers.
        value: best value of the sweep's metric; None when none was reported.
        status: `completed`, `stopped` (early, by the scheduler) or `failed`.
        epochs: epochs that were trained.
    """

    number: int
    params: Mapping[str, float]
    value: float | None
    status: str
    epochs: int

    def __post_init__(self) -> None:
        require_choice("status", self.status, TRIAL_STATUSES)
        require(self.value is None or math.isfinite(self.value), f"value of trial {self.number} must be finite or None")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A search over hyperparameters, scored on the validation split.

    Args:
        metric_name: full name of the objective (`val/raw/t2v/R1`); higher is better.
        trials: in order of their numbers.
        best_number: number of the chosen trial; None when no trial reported a value.
        indistinguishable: numbers of the trials that do not differ significantly from the chosen one, itself not among
            them; None where that was not tested.
        indistinguishable_test: how it was tested, in words.
    """

    metric_name: str
    trials: tuple[Trial, ...]
    best_number: int | None
    indistinguishable: tuple[int, ...] | None = None
    indistinguishable_test: str = ""

    def __post_init__(self) -> None:
        scored = [trial.number for trial in self.trials if trial.value is not None]
        require(
            self.best_number in scored or (self.best_number is None and not scored),
            f"best_number must be a trial with a value, one of {scored}; got {self.best_number}",
        )

    @property
    def best(self) -> Trial | None:
        """The chosen trial."""
        return next((trial for trial in self.trials if trial.number == self.best_number), None)

    @property
    def scored(self) -> tuple[Trial, ...]:
        """Trials that reported a value, best first."""
        return tuple(sorted((t for t in self.trials if t.value is not None), key=lambda t: -(t.value or 0.0)))


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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the same queries.

    Args:
        label_a: the run that is judged.
        label_b: the run it is judged against.
        metric: full name, `test/raw/t2v/R1`.
        difference: a minus b, in the metric's unit.
        low: lower end of the paired 95 % interval of the difference.
        high: upper end.
        verdict: one of `VERDICTS`; `no significant difference` exactly when the interval holds zero.
        wins: queries on which the metric is better for a.
        losses: queries on which it is better for b.
        num_seeds: training seeds a run stands for.

    Raises:
        ValueError: an unknown verdict, or one that contradicts the interval.
    """

    label_a: str
    label_b: str
    metric: str
    difference: float
    low: float
    high: float
    verdict: str
    wins: int
    losses: int
    num_seeds: int = 1

    def __post_init__(self) -> None:
        require(self.low <= self.high, f"an interval needs low <= high, got [{self.low}, {self.high}]")
        require_choice("verdict", self.verdict, VERDICTS)
        require(
            (self.verdict == NO_DIFFERENCE) == (self.low <= 0 <= self.high),
            f"verdict must be {NO_DIFFERENCE!r} exactly when the interval holds zero; "
            f"got {self.verdict!r} for [{self.low:g}, {self.high:g}]",
        )

    @property
    def winner(self) -> str | None:
        """Label of the run that is better, None without a significant difference."""
        return {"a is better": self.label_a, "b is better": self.label_b}.get(self.verdict)

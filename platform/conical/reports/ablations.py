"""What the prompts and the captioner are worth: runs that differ in nothing else, each against one base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conical.core.options import require_choice
from conical.metrics import METRICS, Comparison, MetricValue
from conical.reports.grids import Grid, format_difference, format_metric


@dataclass(frozen=True, kw_only=True)
class AblationLine:
    """One variant.

    Args:
        change: what it changes of the base, in words (`mix human 0.4, A 0.4, B 0.2`); of the base, what it is.
        metrics: `R1` and the like, text to video.
        against_base: by the same names; empty for the base.
        num_seeds: trainings behind each value.
    """

    change: str
    label: str
    metrics: Mapping[str, MetricValue]
    against_base: Mapping[str, Comparison]
    num_seeds: int = 1

    def __post_init__(self) -> None:
        for name in self.metrics:
            require_choice("metric", name, METRICS)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A base and its variants, all of one split, protocol and set of queries.

    Args:
        split: where they were scored.
        protocol: as in `RunRow`.
    """

    lines: tuple[AblationLine, ...]
    split: str
    protocol: str
    num_queries: int
    num_gallery: int


def ablation_grid(ablation: Ablation) -> Grid:
    """One line per variant and metric: value, difference to the base, verdict."""
    base = ablation.lines[0]
    body = tuple(
        (
            line.change,
            line.label,
            f"R@{name[1:]}" if name.startswith("R") else name,
            format_metric(value),
            format_difference(line.against_base[name]) if name in line.against_base else "base",
            _verdict(line.against_base.get(name)),
            str(line.num_seeds),
        )
        for line in ablation.lines
        for name, value in line.metrics.items()
    )
    return Grid(
        title=f"Prompts and captioners, against {base.label}: {ablation.split}, protocol {ablation.protocol}, t2v, "
        f"{ablation.num_queries} queries, {ablation.num_gallery} videos",
        header=("What changed", "Method", "Metric", "Value [95 %]", "Difference to base [95 %]", "Verdict", "Seeds"),
        body=body,
        notes=(
            "Each line differs from the base in nothing but the prompt mix, the prompts and the captioner. "
            "Differences are paired on the same queries.",
        ),
        num_keys=3,
    )


def _verdict(comparison: Comparison | None) -> str:
    if comparison is None:
        return "–"
    if comparison.winner is None:
        return comparison.verdict
    return "better than the base" if comparison.winner == comparison.label_a else "worse than the base"

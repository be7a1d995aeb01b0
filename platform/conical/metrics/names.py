"""The one place that spells metric names: `<split>/<protocol>[.<family>]/<direction>/<metric>`.

A name holds all that makes two numbers comparable. MLflow allows letters, digits, space and `_ - . / :` in it, so there
is neither the `@` of R@1 nor a `+` before the family.
"""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.options import require, require_choice
from conical.core.records import SPLITS

# raw: captions and frames only; captioned-gallery: supplements written from the video alone join the frames;
# paired-supplement: the query is joined with a supplement of its own target video, which a deployed system cannot know
PROTOCOLS = ("raw", "captioned-gallery", "paired-supplement")
# v2t ranks the caption groups by their best caption; v2t_any ranks single captions and takes the best of the own ones
DIRECTIONS = ("t2v", "v2t", "v2t_any")
METRICS = ("R1", "R5", "R10", "MedR", "MeanR")
# changes of the scores at test time, each a family of numbers of its own
FAMILIES = ("dsl",)


@dataclass(frozen=True, kw_only=True)
class MetricName:
    """The parts of a metric's name.

    Args:
        split: one of `conical.core.records.SPLITS`.
        protocol: one of `PROTOCOLS`.
        direction: one of `DIRECTIONS`.
        metric: one of `METRICS`.
        family: one of `FAMILIES`, or None for scores as they are.

    Raises:
        ValueError: a part is unknown.
    """

    split: str
    protocol: str
    direction: str
    metric: str
    family: str | None = None

    def __post_init__(self) -> None:
        require_choice("split", self.split, SPLITS)
        require_choice("protocol", self.protocol, PROTOCOLS)
        require_choice("direction", self.direction, DIRECTIONS)
        require("@" not in self.metric, f"metric must not hold '@', got {self.metric!r}: MLflow refuses it, write R1")
        require_choice("metric", self.metric, METRICS)
        if self.family is not None:
            require_choice("family", self.family, FAMILIES)

    def __str__(self) -> str:
        family = f".{self.family}" if self.family else ""
        return f"{self.split}/{self.protocol}{family}/{self.direction}/{self.metric}"


def metric_name(split: str, protocol: str, direction: str, metric: str, family: str | None = None) -> str:
    """Spell a metric's name.

    Args:
        split: one of `conical.core.records.SPLITS`.
        protocol: one of `PROTOCOLS`.
        direction: one of `DIRECTIONS`.
        metric: one of `METRICS`.
        family: one of `FAMILIES`, or None for scores as they are.

    Returns:
        The name, which MLflow accepts.

    Raises:
        ValueError: a part is unknown.

    >>> metric_name("test", "raw", "t2v", "R1")
    'test/raw/t2v/R1'
    >>> metric_name("test", "raw", "t2v", "R1", family="dsl")
    'test/raw.dsl/t2v/R1'
    """
    return str(MetricName(split=split, protocol=protocol, direction=direction, metric=metric, family=family))


def parse_metric_name(name: str) -> MetricName:
    """Take a name of `metric_name` apart.

    Raises:
        ValueError: it has another form, or a part is unknown.

    >>> parse_metric_name("val/raw.dsl/v2t/MeanR").family
    'dsl'
    """
    parts = name.split("/")
    require(
        len(parts) == 4,
        f"a metric name must have the form split/protocol/direction/metric, got {name!r}: make it with metric_name()",
    )
    split, protocol, direction, metric = parts
    protocol, dot, family = protocol.partition(".")
    return MetricName(
        split=split, protocol=protocol, direction=direction, metric=metric, family=family if dot else None
    )

"""The one place that spells what was scored and by which metric.

    <split>[-<subset>]/<protocol>[.<family>]                       an evaluation: test-leak-free/raw.dsl
    <split>[-<subset>]/<protocol>[.<family>]/<direction>/<metric>  one number of it: test-leak-free/raw.dsl/t2v/R1

A name holds all that makes two numbers comparable. MLflow allows letters, digits, space and `_ - . / :` in it, so there
is neither the `@` of R@1 nor a `+` before the family. MLflow's own spelling is shorter, see `tracked_name`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from conical.core.options import require, require_choice
from conical.core.records import SPLITS

# v2t ranks the caption groups by their best caption; v2t_any ranks single captions and takes the best of the own ones
DIRECTIONS = ("t2v", "v2t", "v2t_any")
METRICS = ("R1", "R5", "R10", "MedR", "MeanR")


def higher_is_better(metric: str) -> bool:
    """Whether larger values of a metric are better: recalls yes, ranks (MedR, MeanR) no; takes short and full names.

    >>> higher_is_better("R1"), higher_is_better("val/raw/t2v/MeanR")
    (True, False)
    """
    return metric.rpartition("/")[2] in ("R1", "R5", "R10")


# parts of a split whose queries are scored by themselves: leak-free holds no video that an audit found in train too
SUBSETS = ("leak-free",)
# protocols and families are tables of higher layers, and others may add their own: a name is known by its form only
_WORD = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def require_word(what: str, word: str) -> None:
    """Refuse a name of a protocol or family that cannot stand in a metric's name.

    Raises:
        ValueError: it holds anything but lower case letters and digits, with single hyphens between.
    """
    require(
        _WORD.fullmatch(word) is not None,
        f"{what} must be lower case letters and digits, with single hyphens between, got {word!r}",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationName:
    """What was scored, and how; numbers of different names are never compared.

    Args:
        split: one of `conical.core.records.SPLITS`.
        protocol: its name, for example `raw`.
        family: its name, for example `dsl`, or None for scores as they are.
        subset: one of `SUBSETS`, or None for the whole split.

    Raises:
        ValueError: a part is unknown or has another form.

    >>> str(EvaluationName(split="test", family="dsl", subset="leak-free"))
    'test-leak-free/raw.dsl'
    """

    split: str
    protocol: str = "raw"
    family: str | None = None
    subset: str | None = None

    def __post_init__(self) -> None:
        require_choice("split", self.split, SPLITS)
        require_word("protocol", self.protocol)
        if self.family is not None:
            require_word("family", self.family)
        if self.subset is not None:
            require_choice("subset", self.subset, SUBSETS)

    def __str__(self) -> str:
        return f"{self.part}/{self.scores}"

    @property
    def part(self) -> str:
        """Split and subset: `test-leak-free`."""
        return f"{self.split}-{self.subset}" if self.subset else self.split

    @property
    def scores(self) -> str:
        """Protocol and family: `raw.dsl`."""
        return f"{self.protocol}.{self.family}" if self.family else self.protocol


@dataclass(frozen=True, kw_only=True)
class MetricName(EvaluationName):
    """The parts of a metric's name.

    Args:
        split: one of `conical.core.records.SPLITS`.
        protocol: its name, for example `raw`.
        direction: one of `DIRECTIONS`.
        metric: one of `METRICS`.
        family: its name, for example `dsl`, or None for scores as they are.
        subset: one of `SUBSETS`, or None for the whole split.

    Raises:
        ValueError: a part is unknown or has another form.
    """

    direction: str
    metric: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("direction", self.direction, DIRECTIONS)
        require("@" not in self.metric, f"metric must not hold '@', got {self.metric!r}: MLflow refuses it, write R1")
        require_choice("metric", self.metric, METRICS)

    def __str__(self) -> str:
        return f"{super().__str__()}/{self.direction}/{self.metric}"


def metric_name(
    split: str, protocol: str, direction: str, metric: str, family: str | None = None, subset: str | None = None
) -> str:
    """Spell a metric's name.

    Args:
        split: one of `conical.core.records.SPLITS`.
        protocol: its name, for example `raw`.
        direction: one of `DIRECTIONS`.
        metric: one of `METRICS`.
        family: its name, for example `dsl`, or None for scores as they are.
        subset: one of `SUBSETS`, or None for the whole split.

    Returns:
        The name, which MLflow accepts.

    Raises:
        ValueError: a part is unknown or has another form.

    >>> metric_name("test", "raw", "t2v", "R1")
    'test/raw/t2v/R1'
    >>> metric_name("test", "raw", "t2v", "R1", family="dsl", subset="leak-free")
    'test-leak-free/raw.dsl/t2v/R1'
    """
    return str(
        MetricName(split=split, protocol=protocol, direction=direction, metric=metric, family=family, subset=subset)
    )


def parse_metric_name(name: str) -> MetricName:
    """Take a name of `metric_name` apart.

    Raises:
        ValueError: it or a part has another form, or a part is unknown.

    >>> parse_metric_name("val/raw.dsl/v2t/MeanR").family
    'dsl'
    >>> parse_metric_name("test-leak-free/raw/t2v/R1").subset
    'leak-free'
    """
    parts = name.split("/")
    require(
        len(parts) == 4,
        f"a metric name must have the form split/protocol/direction/metric, got {name!r}: make it with metric_name()",
    )
    split, hyphen, subset = parts[0].partition("-")
    protocol, dot, family = parts[1].partition(".")
    return MetricName(
        split=split,
        protocol=protocol,
        direction=parts[2],
        metric=parts[3],
        family=family if dot else None,
        subset=subset if hyphen else None,
    )


def readable(name: str) -> str:
    """A metric's name as people say it; the protocol is left out where it is `raw`.

    Raises:
        ValueError: it is no metric's name.

    >>> readable("val/raw/t2v/R1"), readable("test-leak-free/raw.dsl/v2t/MeanR")
    ('val t2v R@1', 'test-leak-free raw.dsl v2t MeanR')
    """
    parts = parse_metric_name(name)
    scores = () if parts.scores == "raw" else (parts.scores,)
    metric = f"R@{parts.metric[1:]}" if parts.metric in ("R1", "R5", "R10") else parts.metric
    return " ".join((parts.part, *scores, parts.direction, metric))


def tracked_name(name: str) -> str:
    """A metric's name in MLflow: section, slash, what people say; the protocol is left out where it is `raw`.

    MLflow draws one section of charts per text before the slash and shows all in the head of a column. It refuses `@`.

    Raises:
        ValueError: it is no metric's name.

    >>> tracked_name("val/raw/t2v/R1"), tracked_name("test-leak-free/raw.dsl/v2t/MeanR")
    ('val/t2v R1', 'test-leak-free/raw.dsl v2t MeanR')
    """
    parts = parse_metric_name(name)
    scores = "" if parts.scores == "raw" else f"{parts.scores} "
    return f"{parts.part}/{scores}{parts.direction} {parts.metric}"


def merit(metric: str, value: float) -> float:
    """A value of a metric, turned so that the larger is always the better one; takes short and full names.

    >>> merit("val/raw/t2v/R1", 24.0), merit("MeanR", 17.9)
    (24.0, -17.9)
    """
    return value if higher_is_better(metric) else -value

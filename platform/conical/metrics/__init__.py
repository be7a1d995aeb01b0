"""Retrieval metrics: ranks with a tie rule, recalls in both directions, intervals, paired comparison, names."""

from conical.metrics.names import (
    DIRECTIONS,
    FAMILIES,
    METRICS,
    PROTOCOLS,
    SUBSETS,
    EvaluationName,
    MetricName,
    metric_name,
    parse_metric_name,
)
from conical.metrics.ranks import TIES, Ranking, rank_queries, ranks
from conical.metrics.recall import DirectionMetrics, RetrievalMetrics, retrieval_metrics
from conical.metrics.rescoring import dual_softmax, qb_norm
from conical.metrics.significance import Interval, PairedComparison, bootstrap_intervals, compare

__all__ = [
    "DIRECTIONS",
    "FAMILIES",
    "METRICS",
    "PROTOCOLS",
    "SUBSETS",
    "TIES",
    "DirectionMetrics",
    "EvaluationName",
    "Interval",
    "MetricName",
    "PairedComparison",
    "Ranking",
    "RetrievalMetrics",
    "bootstrap_intervals",
    "compare",
    "dual_softmax",
    "metric_name",
    "parse_metric_name",
    "qb_norm",
    "rank_queries",
    "ranks",
    "retrieval_metrics",
]

"""Retrieval metrics: ranks with a tie rule, recalls in both directions, intervals, paired comparison, names."""

from conical.metrics.alignment import require_unique_ids
from conical.metrics.blockwise import EmbeddingRankings, rank_both_directions, rank_embeddings
from conical.metrics.hubness import k_occurrence, skewness
from conical.metrics.names import (
    DIRECTIONS,
    FAMILIES,
    METRICS,
    PROTOCOLS,
    SUBSETS,
    EvaluationName,
    MetricName,
    higher_is_better,
    merit,
    metric_name,
    parse_metric_name,
    readable,
)
from conical.metrics.paired import NO_DIFFERENCE, VERDICTS, Comparison
from conical.metrics.ranks import TIES, Ranking, rank_queries, ranks
from conical.metrics.recall import (
    DirectionMetrics,
    RetrievalMetrics,
    direction_metrics,
    embedding_metrics,
    retrieval_metrics,
)
from conical.metrics.rescoring import dual_softmax, qb_norm
from conical.metrics.significance import Interval, bootstrap_intervals, compare
from conical.metrics.subset import restrict_queries

__all__ = [
    "DIRECTIONS",
    "FAMILIES",
    "METRICS",
    "NO_DIFFERENCE",
    "PROTOCOLS",
    "SUBSETS",
    "TIES",
    "VERDICTS",
    "Comparison",
    "DirectionMetrics",
    "EmbeddingRankings",
    "EvaluationName",
    "Interval",
    "MetricName",
    "Ranking",
    "RetrievalMetrics",
    "bootstrap_intervals",
    "compare",
    "direction_metrics",
    "dual_softmax",
    "embedding_metrics",
    "higher_is_better",
    "k_occurrence",
    "merit",
    "metric_name",
    "parse_metric_name",
    "qb_norm",
    "rank_both_directions",
    "rank_embeddings",
    "rank_queries",
    "ranks",
    "readable",
    "require_unique_ids",
    "restrict_queries",
    "retrieval_metrics",
    "skewness",
]

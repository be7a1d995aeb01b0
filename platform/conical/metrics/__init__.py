"""Retrieval metrics: ranks with a tie rule, recalls in both directions, intervals, paired comparison, names."""

from conical.metrics.alignment import require_unique_ids
from conical.metrics.families.dsl import dual_softmax
from conical.metrics.families.family import Family
from conical.metrics.families.qbnorm import qb_norm
from conical.metrics.families.table import FAMILIES, find_family
from conical.metrics.hubness import k_occurrence, skewness
from conical.metrics.names import (
    DIRECTIONS,
    METRICS,
    SUBSETS,
    EvaluationName,
    MetricName,
    higher_is_better,
    merit,
    metric_name,
    parse_metric_name,
    readable,
    require_word,
    tracked_name,
)
from conical.metrics.paired import NO_DIFFERENCE, VERDICTS, Comparison
from conical.metrics.ranking import TIES, Ranking
from conical.metrics.ranks import rank_both_directions, rank_embeddings, rank_queries, ranks
from conical.metrics.recall import (
    DirectionMetrics,
    RetrievalMetrics,
    direction_metrics,
    embedding_metrics,
    retrieval_metrics,
)
from conical.metrics.significance import Interval, bootstrap_intervals, compare, worse_than_best
from conical.metrics.subset import restrict_queries
from conical.metrics.tile_counts import BothRankings
from conical.metrics.values import MetricValue

__all__ = [
    "DIRECTIONS",
    "FAMILIES",
    "METRICS",
    "NO_DIFFERENCE",
    "SUBSETS",
    "TIES",
    "VERDICTS",
    "BothRankings",
    "Comparison",
    "DirectionMetrics",
    "EvaluationName",
    "Family",
    "Interval",
    "MetricName",
    "MetricValue",
    "Ranking",
    "RetrievalMetrics",
    "bootstrap_intervals",
    "compare",
    "direction_metrics",
    "dual_softmax",
    "embedding_metrics",
    "find_family",
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
    "require_word",
    "restrict_queries",
    "retrieval_metrics",
    "skewness",
    "tracked_name",
    "worse_than_best",
]

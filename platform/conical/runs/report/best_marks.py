"""Which run of a table is significantly better than all others; one with the largest number need not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from conical.metrics import DIRECTIONS, METRICS, Ranking, worse_than_best
from conical.reports import RunRow, group_rows
from conical.runs.comparison import query_groups
from conical.store import EvaluationRecord


def mark_best(rows: Sequence[tuple[RunRow, EvaluationRecord]]) -> list[RunRow]:
    """The rows, each with the metrics in which it is the best of its table beyond doubt.

    All pairs of a table are judged at once (`conical.metrics.worse_than_best`), so the chance to mark anything among
    equal runs is 5 % per metric, however many runs there are. It speaks about other queries for these trainings.

    Args:
        rows: of any tables, each with the evaluation it shows.
    """
    scored = {id(row): evaluation for row, evaluation in rows}
    marked: dict[int, RunRow] = {}
    for group in group_rows(row for row, _ in rows):
        # one run alone has nothing to be better than; ranks of other queries cannot be paired
        is_tested = len(group) > 1 and bool(group[0].comparable)
        best = _best_in([scored[id(row)] for row in group]) if is_tested else [None] * len(group)
        marked |= {id(row): replace(row, best_in=keys) for row, keys in zip(group, best, strict=True)}
    return [marked[id(row)] for row, _ in rows]


def _best_in(scored: Sequence[EvaluationRecord]) -> list[frozenset[str] | None]:
    """For each run, the metrics in which all others are worse; None where no ranks were kept."""
    directions = [name for name in DIRECTIONS if all(name in one.rankings for one in scored)]
    found: list[set[str]] = [set() for _ in scored]
    for direction in directions:
        rankings = [one.rankings[direction] for one in scored]
        for metric in METRICS:
            winner = _winner(rankings, metric, scored[0], direction)
            if winner is not None:
                found[winner].add(f"{direction}/{metric}")
    return [frozenset(keys) if directions else None for keys in found]


def _winner(rankings: Sequence[Ranking], metric: str, scored: EvaluationRecord, direction: str) -> int | None:
    is_worse = worse_than_best(rankings, metric=metric, groups=query_groups(scored, direction))
    return int(is_worse.argmin()) if is_worse.sum() == len(rankings) - 1 else None

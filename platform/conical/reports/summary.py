"""What a report says in sentences. The best run is chosen on val; test is only read off for it."""

from __future__ import annotations

from collections.abc import Sequence

from conical.metrics import Comparison, merit, parse_metric_name
from conical.reports.contents import ReportData
from conical.reports.grids import HEADINGS, format_difference, format_metric
from conical.reports.groups import group_rows, set_mark
from conical.reports.rows import RunRow
from conical.store import Sweep


def summary_sentences(data: ReportData) -> tuple[str, ...]:
    """The findings in words.

    Returns:
        The best run by val with its test result, then one sentence per comparison.
    """
    compared = (comparison_sentence(comparison) for comparison in data.comparisons)
    return (*_best_run(data.rows, data.select_by), *(sweep_sentences(data.sweep) if data.sweep else ()), *compared)


def sweep_sentences(sweep: Sweep) -> tuple[str, ...]:
    """How sure the choice of the best trial is; nothing where that was not tested."""
    best, others = sweep.best_or_none, sweep.indistinguishable
    if best is None or others is None:
        return ()
    # a trial without a value lost by failing, not in a test
    num_others = len(sweep.scored) - 1
    how = f" ({sweep.indistinguishable_test})" if sweep.indistinguishable_test else ""
    if num_others == 0:
        return (f"Trial {best.number} is the only scored trial.",)
    if not others:
        return (f"Trial {best.number} is significantly better than the other {num_others} scored trials{how}.",)
    return (
        f"Indistinguishable from trial {best.number}: {len(others)} of the other {num_others} scored trials, number "
        f"{', '.join(map(str, others))}{how}.",
    )


def comparison_sentence(comparison: Comparison) -> str:
    """One comparison in words; a difference whose interval holds zero is not called one."""
    seeds = f"{comparison.num_seeds} seeds" if comparison.num_seeds > 1 else "1 seed: another training is not covered"
    figures = f"{comparison.metric}: {format_difference(comparison)}, {seeds}"
    if comparison.winner is None:
        return f"No significant difference between {comparison.label_a} and {comparison.label_b} ({figures})."
    loser = comparison.label_b if comparison.winner == comparison.label_a else comparison.label_a
    return f"{comparison.winner} is better than {loser} ({figures}; {comparison.label_a} minus {comparison.label_b})."


def _best_run(rows: Sequence[RunRow], select_by: str) -> tuple[str, ...]:
    name = parse_metric_name(select_by)
    key = f"{name.direction}/{name.metric}"
    protocols = [row.protocol for row in rows]
    if not protocols:
        return ()
    # a ranking holds one protocol: the standard one when there are several
    protocol = "raw" if "raw" in protocols else protocols[0]
    scored = [row for row in rows if row.protocol == protocol and key in row.metrics]
    on_val = group_rows(row for row in scored if row.split == "val")
    if not on_val:
        return ("No run was scored on val, so no run is called the best.",)
    return tuple(sentence for group in on_val for sentence in _best_of(group, scored, key, is_alone=len(on_val) == 1))


def _best_of(on_val: Sequence[RunRow], scored: Sequence[RunRow], key: str, *, is_alone: bool) -> tuple[str, ...]:
    """The best of runs that were scored on the same val queries, and its test result."""
    direction, _, metric = key.partition("/")
    what = f"{direction} {HEADINGS[metric]}"
    best = max(on_val, key=lambda row: merit(metric, row.metrics[key].value))
    among = f"protocol {best.protocol}" if is_alone else f"protocol {best.protocol}, set {set_mark(best)}"
    chosen = f"Best by val ({among}): {best.label}, {what} {format_metric(best.metrics[key])}."
    on_test = [row for row in scored if row.split == "test" and row.label == best.label]
    if not on_test:
        return (chosen, "It was not scored on test.")
    test = on_test[0]
    on = f"over {test.num_queries} queries and {test.num_gallery} videos"
    times = f": {test.metrics[key].value * test.num_gallery / 100:.1f} times chance" if key == "t2v/R1" else ""
    return chosen, f"Its test {what} is {format_metric(test.metrics[key])} {on}{times}."

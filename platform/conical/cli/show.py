"""What commands print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from conical.reports import (
    Grid,
    ReportData,
    ReportPaths,
    group_rows,
    results_grid,
    rich_table,
    shared_notes,
    summary_sentences,
    sweep_sentences,
)
from conical.runs.report.builder import result_row
from conical.store import EvaluationRecord, RunRecord, Sweep

if TYPE_CHECKING:
    from conical.workbench.doctor.check_result import Check

_MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[bold red]fail[/]"}


def print_evaluations(console: Console, record: RunRecord, evaluations: Sequence[EvaluationRecord]) -> None:
    """One table per split."""
    rows = [result_row(record, scored, record.label) for scored in evaluations]
    print_grids(console, [results_grid(group) for group in group_rows(rows)])


def print_grids(console: Console, grids: Sequence[Grid]) -> None:
    """Tables in the width of the terminal, then the notes of all of them, each once."""
    for grid in grids:
        # a log's lines are not broken, but the columns of a table are fitted there as well
        console.print(rich_table(grid, width=console.width, has_notes=False), soft_wrap=False)
    for note in shared_notes(grids, width=console.width):
        console.print(note, highlight=False, markup=False, style="dim" if console.is_terminal else "")


def print_sweep(console: Console, sweep: Sweep) -> None:
    """Which trial won, and how many might as well have."""
    best = sweep.best
    settings = ", ".join(f"{name} {value:.3g}" for name, value in best.settings.items())
    console.print(
        f"best of {len(sweep.trials)} trials by {sweep.metric}: trial {best.number} ({settings})", highlight=False
    )
    for sentence in sweep_sentences(sweep):
        console.print(sentence, highlight=False, markup=False)


def print_report(console: Console, data: ReportData, paths: ReportPaths) -> None:
    """The tables, the findings in words, where the page is."""
    print_grids(console, [results_grid(group) for group in group_rows(data.rows)])
    for sentence in summary_sentences(data):
        console.print(f"- {sentence}", highlight=False, markup=False)
    print_verdict(console, data, paths)


def print_verdict(console: Console, data: ReportData, paths: ReportPaths) -> None:
    """What may be claimed, and where the page is."""
    console.print(Text.assemble(("Verdict: ", "bold"), data.verdict))
    # a broken link cannot be clicked
    console.print(f"Report: {paths.page.resolve().as_uri()}", highlight=False, markup=False, soft_wrap=True)


def print_checks(console: Console, checks: Iterable[Check]) -> int:
    """One line per check, as soon as it is known; returns the exit code."""
    has_failed = False
    for check in checks:
        has_failed |= check.status == "fail"
        advice = f" -> {check.advice}" if check.advice else ""
        console.print(f"{_MARKS[check.status]} {check.name:<18} ", end="", highlight=False)
        console.print(f"{check.detail}{advice}", highlight=False, markup=False)
    return int(has_failed)

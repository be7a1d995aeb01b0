"""A `Grid` as rich, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from conical.reports.grids import Grid, refuse_mixture
from conical.reports.records import RunRow

_MIN_NAME_WIDTH = 14


def rich_table(grid: Grid) -> Table:
    """The grid for a terminal of 120 columns."""
    table = Table(title=Text(grid.title), title_justify="left", caption=Text("\n".join(grid.notes)), pad_edge=False)
    table.caption_justify = "left"
    for column, heading in enumerate(grid.header):
        # numbers are never broken; a heading may be, and names are where the table is too wide
        widest = max((len(line[column]) for line in grid.body), default=0)
        is_value = column >= grid.num_keys
        width = widest if is_value else min(widest, _MIN_NAME_WIDTH)
        table.add_column(Text(heading), justify="right" if is_value else "left", min_width=width, overflow="fold")
    for index, (line, span) in enumerate(zip(grid.body, grid.spans(), strict=True)):
        cells = [Text(cell, style="bold" if (index, column) in grid.best else "") for column, cell in enumerate(line)]
        if span == 0:
            cells[0] = Text("")
        elif index > 0 and max(grid.spans()) > 1:
            table.add_section()
        table.add_row(*cells)
    return table


def markdown_table(grid: Grid) -> str:
    """The grid as GitHub-flavoured Markdown."""
    lines = [[_escape_markdown(cell) for cell in line] for line in grid.body]
    for line, column in grid.best:
        lines[line][column] = f"**{lines[line][column]}**"
    rule = ["---" if column < grid.num_keys else "---:" for column in range(len(grid.header))]
    table = [f"| {' | '.join(cells)} |" for cells in ([_escape_markdown(cell) for cell in grid.header], rule, *lines)]
    notes = [f"\n{_escape_markdown(note)}" for note in grid.notes]
    return "\n".join([f"**{_escape_markdown(grid.title)}**\n", *table, *notes]) + "\n"


def csv_table(grid: Grid) -> str:
    """The grid as CSV, the cells as they are read."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows((grid.header, *grid.body))
    return buffer.getvalue()


def results_csv(rows: Sequence[RunRow]) -> str:
    """The runs as CSV for programs: one line a run, direction and metric, in full precision.

    Raises:
        ProtocolError: the rows cannot be compared.
    """
    refuse_mixture(rows)
    fields = ("label", "run_id", "split", "protocol", "num_queries", "num_gallery", "comparable", "has_ties", "note")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((*fields, "direction", "metric", "value", "low", "high"))
    for row in rows:
        for key, metric in row.metrics.items():
            described = (getattr(row, name) for name in fields)
            writer.writerow((*described, *key.split("/"), metric.value, metric.low, metric.high))
    return buffer.getvalue()


def latex_table(grid: Grid) -> str:
    """The grid as a LaTeX `table` for the booktabs package."""
    columns = "l" * grid.num_keys + "r" * (len(grid.header) - grid.num_keys)
    lines = [[_escape_latex(cell) for cell in line] for line in grid.body]
    for line, column in grid.best:
        lines[line][column] = rf"\textbf{{{lines[line][column]}}}"
    for cells, span in zip(lines, grid.spans(), strict=True):
        if span == 0:
            cells[0] = ""
    table = [
        r"\begin{table}",
        rf"\caption{{{_escape_latex(' '.join((f'{grid.title}.', *grid.notes)))}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_escape_latex(cell) for cell in grid.header) + r" \\",
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in lines),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(table) + "\n"


def _escape_markdown(text: str) -> str:
    for old, new in (("\\", "\\\\"), ("|", "\\|"), ("*", "\\*"), ("<", "&lt;"), ("\n", " ")):
        text = text.replace(old, new)
    return text


_LATEX: dict[str, str | int | None] = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "†": r"$\dagger$",
    "≈": r"$\approx$",
    "→": r"$\to$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\n": " ",
}


def _escape_latex(text: str) -> str:
    return text.translate(str.maketrans(_LATEX))

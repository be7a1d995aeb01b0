"""A `Grid` as rich, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.box import HORIZONTALS
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from conical.reports.grids import Grid
from conical.reports.groups import refuse_mixture
from conical.reports.rows import RunRow

_MOST_OF_A_WORD = 24  # a longer one is broken


@dataclass(frozen=True)
class _Value:
    """A number and its interval: on one line where there is room, else on two; neither is ever broken.

    Args:
        text: `41.5 [38.0, 45.1]`.
    """

    text: str
    style: str = ""

    @property
    def width(self) -> int:
        """Of the longer part."""
        return max(map(len, self._parts))

    @property
    def _parts(self) -> list[str]:
        number, bracket, interval = self.text.partition(" [")
        return [number, f"[{interval}"] if bracket else [number]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, len(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_whole = len(self.text) <= options.max_width
        yield Text(self.text if is_whole else "\n".join(self._parts), style=self.style, justify="right")


def rich_table(grid: Grid, *, width: int = 120, has_notes: bool = True) -> Table:
    """The grid for a terminal; names break between words, numbers never.

    Args:
        width: columns of the terminal; what does not fit is left out, as `grid.optional` says, and named. A table of
            results fits 80.
        has_notes: with `grid.notes` below it; False where several tables share them.
    """
    grid = _fitted(grid, width)
    # without upright lines: they would cost a column each side of every number
    table = Table(box=HORIZONTALS, collapse_padding=True, pad_edge=False, title=Text(grid.title), title_justify="left")
    if has_notes:
        table.caption, table.caption_justify = Text("\n".join(grid.notes)), "left"
    for column, (heading, cells) in enumerate(zip(grid.header, _widths(grid, width), strict=True)):
        justify: Literal["left", "right"] = "right" if column >= grid.num_keys else "left"
        table.add_column(Text(heading), justify=justify, width=cells, overflow="fold")
    for index, (line, span) in enumerate(zip(grid.body, grid.spans(), strict=True)):
        names = [Text(cell) for cell in line[: grid.num_keys]]
        values = [
            _Value(cell, "bold" if (index, column) in grid.best else "")
            for column, cell in enumerate(line)
            if column >= grid.num_keys
        ]
        if span == 0:
            names[0] = Text("")
        elif index > 0 and max(grid.spans()) > 1:
            table.add_section()
        table.add_row(*names, *values)
    return table


def _narrowest(grid: Grid, column: int) -> int:
    """Columns of the terminal that it needs with no number and no usual word broken."""
    words = grid.header[column].split()
    if column >= grid.num_keys:
        return max([*map(len, words), *(_Value(line[column]).width for line in grid.body)])
    words += [word for line in grid.body for word in line[column].split()]
    return min(_MOST_OF_A_WORD, max(map(len, words)))


def _widths(grid: Grid, width: int) -> list[int]:
    """Cells of each column: intervals stand beside their numbers in all columns or in none, names take the rest."""
    widths = [_narrowest(grid, column) for column in range(len(grid.header))]
    widest = [
        max(map(len, (heading, *(line[column] for line in grid.body)))) for column, heading in enumerate(grid.header)
    ]
    slack = width - sum(cells + 2 for cells in widths)
    values = range(grid.num_keys, len(widths))
    if (whole := sum(widest[column] - widths[column] for column in values)) <= slack:
        slack -= whole
        widths[grid.num_keys :] = widest[grid.num_keys :]
    while slack > 0 and (open_names := [c for c in range(grid.num_keys) if widths[c] < widest[c]]):
        narrowest = min(open_names, key=lambda column: widths[column] / widest[column])
        widths[narrowest] += 1
        slack -= 1
    return widths


def _fitted(grid: Grid, width: int) -> Grid:
    """The grid without those optional columns that leave no room for the others."""
    left_out: list[int] = []
    columns = range(len(grid.header))
    for column in (*grid.optional, None):
        # two between columns, one at each end
        needed = sum(_narrowest(grid, kept) + 2 for kept in columns if kept not in left_out)
        if needed <= width or column is None:
            break
        left_out.append(column)
    if not left_out:
        return grid
    kept = [column for column in columns if column not in left_out]
    named = " and ".join(grid.header[column] for column in sorted(left_out))
    return replace(
        grid,
        header=tuple(grid.header[column] for column in kept),
        body=tuple(tuple(line[column] for column in kept) for line in grid.body),
        best=frozenset((line, kept.index(column)) for line, column in grid.best if column in kept),
        notes=(*grid.notes, f"Left out in {width} columns: {named}."),
        optional=(),
    )


def shared_notes(grids: Sequence[Grid], *, width: int = 120) -> tuple[str, ...]:
    """The notes of several tables of one terminal, each once."""
    return tuple(dict.fromkeys(note for grid in grids for note in _fitted(grid, width).notes))


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
    """The runs as CSV for programs: one line per run, direction and metric, in full precision.

    Raises:
        ProtocolError: the rows cannot be compared.
    """
    refuse_mixture(rows)
    fields = (
        *("label", "run_id", "split", "protocol", "num_queries", "num_gallery"),
        *("comparable", "has_ties", "trained_commit", "note"),
    )
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
        rf"\caption{{{_escape_latex(' '.join(map(_sentence, (grid.title, *grid.notes))))}}}",
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


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


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

"""A report on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conical.core.atomic import atomic_path, write_text_atomic
from conical.reports.ablations import ablation_grid
from conical.reports.contents import ReportData
from conical.reports.figures import report_drawings
from conical.reports.grids import (
    Grid,
    comparisons_grid,
    hubs_grid,
    published_grid,
    results_grid,
    sweep_grid,
)
from conical.reports.groups import group_names, group_rows
from conical.reports.page import render_page
from conical.reports.tables import csv_table, latex_table, markdown_table, results_csv


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """Where a report was written.

    Args:
        page: the HTML file; it needs none of the others.
        tables: Markdown, CSV and LaTeX files.
        figures: SVG and PNG files.
    """

    page: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def write_report(data: ReportData, folder: Path) -> ReportPaths:
    """Write `report.html`, `tables/` and `figures/`; each file is whole or absent, and the page comes last.

    Args:
        folder: made when missing; files of an earlier report of the same names are replaced.

    Returns:
        The paths of all files.

    Raises:
        ProtocolError: rows that share a table cannot be compared.
        OSError: the folder cannot be written.
    """
    drawings = report_drawings(data)
    page = render_page(data, drawings)  # before the first file: what is refused leaves nothing behind
    tables = {f"{name}{suffix}": text for name, texts in _tables(data).items() for suffix, text in texts.items()}
    for name, text in tables.items():
        write_text_atomic(folder / "tables" / name, text)
    drawn = [drawing for section in drawings.values() for drawing in section]
    figures = {f"{d.name}{suffix}": content for d in drawn for suffix, content in ((".svg", d.svg), (".png", d.png))}
    for name, content in figures.items():
        with atomic_path(folder / "figures" / name) as temporary:
            temporary.write_bytes(content)
    write_text_atomic(folder / "report.html", page)
    return ReportPaths(
        page=folder / "report.html",
        tables=tuple(folder / "tables" / name for name in tables),
        figures=tuple(folder / "figures" / name for name in figures),
    )


def _tables(data: ReportData) -> dict[str, dict[str, str]]:
    tables = {}
    groups = group_rows(data.rows)
    for name, rows in zip(group_names(groups), groups, strict=True):
        tables[name] = {**_texts(results_grid(rows)), ".csv": results_csv(rows)}
    if data.comparisons:
        tables["comparisons"] = _texts(comparisons_grid(data.comparisons))
    for number, ablation in enumerate(data.ablations, start=1):
        tables[f"ablation_{number}_{ablation.split}_{ablation.protocol}"] = _texts(ablation_grid(ablation))
    if data.hubs:
        tables["hubness"] = _texts(hubs_grid(data.hubs))
    if data.sweep:
        tables["trials"] = _texts(sweep_grid(data.sweep))
    if data.published:
        tables["published_not_reproduced"] = _texts(published_grid(data.published))
    return tables


def _texts(grid: Grid) -> dict[str, str]:
    return {".md": markdown_table(grid), ".csv": csv_table(grid), ".tex": latex_table(grid)}

"""The report as one HTML file that needs no other: styles, figures and frames are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from conical.reports.filmstrips import data_uri, frame_uris
from conical.reports.grids import Grid, comparisons_grid, group_rows, published_grid, results_grid, sweep_grid
from conical.reports.plotting import Drawing
from conical.reports.records import ReportData
from conical.reports.samples import QueryCase
from conical.reports.summary import summary_sentences


def render_page(data: ReportData, drawings: Mapping[str, Sequence[Drawing]]) -> str:
    """Write the page.

    Args:
        data: the report.
        drawings: its figures, from `report_drawings(data)`.

    Returns:
        HTML 5 without scripts and without a request to anywhere; every text of `data` is escaped.

    Raises:
        ProtocolError: rows that share a table cannot be compared.
    """
    environment = Environment(
        loader=PackageLoader("conical.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        data=data,
        summary=summary_sentences(data),
        results=[_table(results_grid(group)) for group in group_rows(data.rows)],
        comparisons=_table(comparisons_grid(data.comparisons)) if data.comparisons else None,
        published=_table(published_grid(data.published)) if data.published else None,
        trials=_table(sweep_grid(data.sweep)) if data.sweep else None,
        figures={section: [_figure(drawing) for drawing in found] for section, found in drawings.items()},
        cases=[_case(case) for case in data.cases],
        runs=list(dict.fromkeys((row.label, row.run_id) for row in data.rows)),
    )


def _table(grid: Grid) -> dict[str, Any]:
    lines = [
        {"span": span, "cells": [(cell, (index, column) in grid.best) for column, cell in enumerate(line)]}
        for index, (line, span) in enumerate(zip(grid.body, grid.spans(), strict=True))
    ]
    return {"grid": grid, "lines": lines}


def _figure(drawing: Drawing) -> dict[str, str]:
    return {"title": drawing.title, "told": drawing.told, "uri": data_uri(drawing.svg, "image/svg+xml")}


def _case(case: QueryCase) -> dict[str, Any]:
    is_found = any(hit.is_correct for hit in case.hits)
    shows_target = case.target_filmstrip is not None and not is_found
    return {
        "case": case,
        "hits": [(hit, frame_uris(hit.filmstrip)) for hit in case.hits],
        "target": frame_uris(case.target_filmstrip) if case.target_filmstrip is not None and shows_target else (),
        "is_found": is_found,
    }

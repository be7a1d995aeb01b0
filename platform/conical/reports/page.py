"""The report as one HTML file that needs no other: styles, figures, frames and its one script are inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from conical.reports.ablations import ablation_grid
from conical.reports.browser import BrowserView, ErrorBrowser, QueryCase
from conical.reports.contents import ReportData
from conical.reports.filmstrips import data_uri, strip_of
from conical.reports.grids import (
    Grid,
    comparisons_grid,
    hubs_grid,
    published_grid,
    results_grid,
    sweep_grid,
)
from conical.reports.groups import group_rows
from conical.reports.plotting import Drawing
from conical.reports.summary import comparison_sentence, summary_sentences
from conical.reports.tables import shared_notes

_SHOWN_TEXTS = 3
_DIRECTION_TITLES = {"t2v": "Text to video", "v2t": "Video to text"}


def render_page(data: ReportData, drawings: Mapping[str, Sequence[Drawing]]) -> str:
    """Write the page.

    Args:
        drawings: its figures, from `report_drawings(data)`.

    Returns:
        HTML 5 without a request to anywhere; every text of `data` is escaped. Its one script sorts and filters the
        error browser and spares the Tab key boxes with nothing to scroll; without it the page shows all the same. The
        policy in the head lets no other script run.

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
    results = [results_grid(group) for group in group_rows(data.rows)]
    lead = _lead(drawings.get("results", ()))
    script = resources.files("conical.reports").joinpath("templates", "browser.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        data=data,
        summary=summary_sentences(data),
        compared=[comparison_sentence(comparison) for comparison in data.comparisons],
        lead=_figure(lead) if lead else None,
        results=[_table(grid) for grid in results],
        notes=shared_notes(results),
        comparisons=_table(comparisons_grid(data.comparisons)) if data.comparisons else None,
        ablations=[_table(ablation_grid(ablation)) for ablation in data.ablations],
        published=_published(data) if data.published else None,
        trials=_table(sweep_grid(data.sweep)) if data.sweep else None,
        hubs=_table(hubs_grid(data.hubs)) if data.hubs else None,
        figures={
            section: [_figure(drawing) for drawing in of_section if drawing is not lead]
            for section, of_section in drawings.items()
        },
        browser=_browser(data.browser) if data.browser and data.browser.views else None,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        runs=list(dict.fromkeys((row.label, row.run_id, row.trained_commit) for row in data.rows)),
    )


def _table(grid: Grid) -> dict[str, Any]:
    lines = [
        {"span": span, "cells": [(cell, (index, column) in grid.best) for column, cell in enumerate(line)]}
        for index, (line, span) in enumerate(zip(grid.body, grid.spans(), strict=True))
    ]
    return {"grid": grid, "lines": lines}


def _lead(drawings: Sequence[Drawing]) -> Drawing | None:
    """The figure to look at first: the standard protocol on test."""
    on_test = [drawing for drawing in drawings if drawing.name.startswith("recall_test_raw")]
    return next(iter((*on_test, *drawings)), None)


def _published(data: ReportData) -> dict[str, Any]:
    """Figures of the report's own dataset, and of others, which nobody compares with it."""
    rows = data.published or ()
    own = [row for row in rows if row.dataset == data.dataset]
    others = [row for row in rows if row.dataset != data.dataset]
    return {
        "own": _table(published_grid(own)) if own else None,
        "others": _table(published_grid(others)) if others else None,
        "names": ", ".join(dict.fromkeys(row.dataset for row in others)),
    }


def _figure(drawing: Drawing) -> dict[str, str]:
    return {"title": drawing.title, "told": drawing.told, "uri": data_uri(drawing.svg, "image/svg+xml")}


def _browser(browser: ErrorBrowser) -> dict[str, Any]:
    """Clips by number: each picture stands once in the style sheet, however many hits show it."""
    numbers = {video_id: number for number, video_id in enumerate(browser.clips)}
    clips = [
        {
            "clip": clip,
            "number": numbers[clip.video_id],
            "strip": strip_of(clip.filmstrip),
            "aspect": f"{clip.filmstrip.shape[2]} / {clip.filmstrip.shape[1]}",
            "captions": clip.captions[:_SHOWN_TEXTS],
            "num_more": max(0, len(clip.captions) - _SHOWN_TEXTS),
        }
        for clip in browser.clips.values()
    ]
    pairs = [
        {"label": label, "against": against, "views": [_view(view, clips, numbers) for view in views]}
        for (label, against), views in groupby(browser.views, key=lambda view: (view.label, view.against))
    ]
    return {"clips": clips, "pairs": pairs, "has_pairs": any(pair["against"] for pair in pairs)}


def _view(view: BrowserView, clips: Sequence[dict[str, Any]], numbers: Mapping[str, int]) -> dict[str, Any]:
    cases = [{"case": case, **_outcomes(case, clips, numbers), **_told(case)} for case in view.cases]
    return {"view": view, "title": _DIRECTION_TITLES[view.direction], "cases": cases}


def _outcomes(case: QueryCase, clips: Sequence[dict[str, Any]], numbers: Mapping[str, int]) -> dict[str, Any]:
    outcomes = [outcome for outcome in (case.against, case.outcome) if outcome is not None]
    return {
        "clip": clips[numbers[case.video_id]],
        "outcomes": [(outcome, [(hit, clips[numbers[hit.video_id]]) for hit in outcome.hits]) for outcome in outcomes],
    }


def _told(case: QueryCase) -> dict[str, str]:
    """The ranks in a few words, and a word for the script to filter by."""
    if case.against is None:
        return {"ranks": f"rank {case.outcome.rank:g}", "kind": "alone"}
    kind = "lost" if case.doublings > 0 else "gained"
    return {"ranks": f"{kind}: rank {case.against.rank:g} → {case.outcome.rank:g}", "kind": kind}

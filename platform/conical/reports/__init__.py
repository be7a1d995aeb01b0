"""Tables, figures and one HTML page from plain results and stored records; knows no model, cluster or tracking server.

report = ReportData(title=..., rows=..., provenance=...)
for rows in group_rows(report.rows):
    console.print(rich_table(results_grid(rows)))
paths = write_report(report, folder)
"""

from conical.metrics import MetricValue
from conical.reports.ablations import Ablation, AblationLine, ablation_grid
from conical.reports.browser import (
    BrowserView,
    Clip,
    ErrorBrowser,
    Hit,
    Outcome,
    QueryCase,
    across_ranks,
    most_changed,
)
from conical.reports.contents import Provenance, ReportData
from conical.reports.grids import (
    HEADINGS,
    Grid,
    comparisons_grid,
    format_metric,
    headline_grid,
    published_grid,
    results_grid,
    sweep_grid,
)
from conical.reports.groups import group_rows
from conical.reports.published import PublishedRow, published_rows
from conical.reports.rows import Curve, RunRow
from conical.reports.samples import DIRECTIONS, HubSample, RankSample
from conical.reports.summary import comparison_sentence, summary_sentences, sweep_sentences
from conical.reports.tables import csv_table, latex_table, markdown_table, results_csv, rich_table, shared_notes
from conical.reports.writer import ReportPaths, write_report

__all__ = [
    "DIRECTIONS",
    "HEADINGS",
    "Ablation",
    "AblationLine",
    "BrowserView",
    "Clip",
    "Curve",
    "ErrorBrowser",
    "Grid",
    "Hit",
    "HubSample",
    "MetricValue",
    "Outcome",
    "Provenance",
    "PublishedRow",
    "QueryCase",
    "RankSample",
    "ReportData",
    "ReportPaths",
    "RunRow",
    "ablation_grid",
    "across_ranks",
    "comparison_sentence",
    "comparisons_grid",
    "csv_table",
    "format_metric",
    "group_rows",
    "headline_grid",
    "latex_table",
    "markdown_table",
    "most_changed",
    "published_grid",
    "published_rows",
    "results_csv",
    "results_grid",
    "rich_table",
    "shared_notes",
    "summary_sentences",
    "sweep_grid",
    "sweep_sentences",
    "write_report",
]

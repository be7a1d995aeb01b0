"""Figures of runs: results with intervals, learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from conical.metrics import MetricValue
from conical.reports.contents import ReportData
from conical.reports.groups import group_names, group_rows, set_mark
from conical.reports.plotting import LINE_STYLES, PALETTE, Drawing, blank, headline, legend_below, render, short
from conical.reports.rank_figures import hub_drawings, rank_drawings
from conical.reports.rows import Curve, RunRow
from conical.reports.samples import HubSample, RankSample
from conical.reports.sweep_figures import sweep_drawings

_OBJECTIVE = "R1"


def report_drawings(data: ReportData) -> dict[str, tuple[Drawing, ...]]:
    """Every figure the data allow, by section of the page: results, sweep, curves, ranks, hubs."""
    # a run keeps its colour through all figures
    parts: tuple[RunRow | Curve | RankSample | HubSample, ...] = (*data.rows, *data.curves, *data.ranks, *data.hubs)
    labels = dict.fromkeys(part.label for part in parts)
    colours = {label: PALETTE[index % len(PALETTE)] for index, label in enumerate(labels)}
    groups = group_rows(data.rows)
    named = zip(group_names(groups), groups, strict=True)
    return {
        # one run alone has nothing to be compared with
        "results": tuple(_recall_drawing(name, group, colours) for name, group in named if len(group) > 1),
        "sweep": sweep_drawings(data.sweep) if data.sweep else (),
        "curves": (_curves_drawing(data.curves, colours),) if data.curves else (),
        "ranks": rank_drawings(data.ranks, colours),
        "hubs": hub_drawings(data.hubs, colours),
    }


def _recall_drawing(name: str, rows: Sequence[RunRow], colours: Mapping[str, str]) -> Drawing:
    first = rows[0]
    where = f"{first.split}, protocol {first.protocol}" + (f", set {set_mark(first)}" if first.comparable else "")
    title = f"R@1 on {where}"
    recalls = [(row.label, row.metrics.get(f"t2v/{_OBJECTIVE}")) for row in rows]
    told = "; ".join(f"{label} {metric.value:.1f}" for label, metric in recalls if metric)
    return render(
        name=f"recall_{name}",
        title=title,
        told=f"R@1 in percent with 95 % intervals on {where}, {first.num_queries} queries. Text to video: {told}.",
        draw=lambda: _recalls(rows, title, colours),
    )


def _recalls(rows: Sequence[RunRow], title: str, colours: Mapping[str, str]) -> Figure:
    figure = blank(8.6, 1.7 + 0.42 * len(rows))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for panel, direction, name in zip(panels, ("t2v", "v2t"), ("text to video", "video to text"), strict=True):
        for line, row in enumerate(rows):
            metric = row.metrics.get(f"{direction}/{_OBJECTIVE}")
            if metric:
                panel.errorbar(metric.value, line, xerr=_error(metric), fmt="o", color=colours[row.label], capsize=4)
        panel.set_title(f"{name}, n = {rows[0].num_queries if direction == 't2v' else rows[0].num_gallery}")
        panel.set_xlabel("R@1 (%), 95 % interval")
    panels[0].set_yticks(range(len(rows)), [short(row.label) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_xlim(left=0)
    headline(figure, title)
    return figure


def _error(metric: MetricValue) -> list[list[float]] | None:
    if metric.low is None or metric.high is None:
        return None
    return [[max(0.0, metric.value - metric.low)], [max(0.0, metric.high - metric.value)]]


def _curves_drawing(curves: Sequence[Curve], colours: Mapping[str, str]) -> Drawing:
    names = list(dict.fromkeys(curve.name for curve in curves))
    ends = "; ".join(f"{c.label}, {c.name}: {c.values[-1]:.3g}" for c in curves if c.values)
    return render(
        name="learning_curves",
        title="Learning curves",
        told=f"{', '.join(names)} over training. Last values: {ends}.",
        draw=lambda: _learning_curves(curves, names, colours),
    )


def _learning_curves(curves: Sequence[Curve], names: Sequence[str], colours: Mapping[str, str]) -> Figure:
    columns = min(2, len(names))
    lines = math.ceil(len(names) / columns)
    labels = list(dict.fromkeys(curve.label for curve in curves))
    figure = blank(4.4 * columns, 3.2 * lines + 0.26 * math.ceil(len(labels) / 2))
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for panel, name in zip(panels, names, strict=False):
        for curve in (curve for curve in curves if curve.name == name):
            index = labels.index(curve.label)
            panel.plot(
                curve.steps,
                curve.values,
                color=colours[curve.label],
                linestyle=LINE_STYLES[index % len(LINE_STYLES)],
                marker="o",
                markersize=4,
                label=short(curve.label),
            )
            panel.set_xlabel(curve.unit)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(name)
    for panel in list(figure.axes)[len(names) :]:
        panel.remove()
    headline(figure, "Learning curves")
    legend_below(figure)
    return figure

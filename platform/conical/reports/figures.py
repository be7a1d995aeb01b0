"""Figures of runs: results with intervals, learning curves, ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from conical.reports.grids import group_rows
from conical.reports.plotting import LINE_STYLES, PALETTE, Drawing, blank, headline, render, short
from conical.reports.records import Curve, MetricValue, ReportData, RunRow
from conical.reports.samples import RankSample
from conical.reports.sweep_figures import sweep_drawings

_OBJECTIVE = "R1"


def report_drawings(data: ReportData) -> dict[str, tuple[Drawing, ...]]:
    """Every figure the data allow, by section of the page: results, sweep, curves, ranks."""
    # a run keeps its colour through all figures
    labels = dict.fromkeys(
        [*(row.label for row in data.rows), *(c.label for c in data.curves), *(ranks.label for ranks in data.ranks)]
    )
    colours = {label: PALETTE[index % len(PALETTE)] for index, label in enumerate(labels)}
    return {
        # one run alone has nothing to be compared with
        "results": tuple(_recall_drawing(group, colours) for group in group_rows(data.rows) if len(group) > 1),
        "sweep": sweep_drawings(data.sweep) if data.sweep else (),
        "curves": (_curves_drawing(data.curves, colours),) if data.curves else (),
        "ranks": tuple(_ranks_drawing(group, colours) for group in _group_ranks(data.ranks)),
    }


def _recall_drawing(rows: Sequence[RunRow], colours: Mapping[str, str]) -> Drawing:
    first = rows[0]
    where = f"{first.split}, protocol {first.protocol}"
    found = [(row.label, row.metrics.get(f"t2v/{_OBJECTIVE}")) for row in rows]
    told = "; ".join(f"{label} {metric.value:.1f}" for label, metric in found if metric)
    return render(
        name=f"recall_{first.split}_{first.protocol}_q{first.num_queries}_g{first.num_gallery}",
        title=f"R@1 on {where}",
        told=f"R@1 in percent with 95 % intervals on {where}, {first.num_queries} queries. Text to video: {told}.",
        draw=lambda: _recalls(rows, colours),
    )


def _recalls(rows: Sequence[RunRow], colours: Mapping[str, str]) -> Figure:
    figure = blank(8.6, 1.7 + 0.42 * len(rows))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for panel, direction, title in zip(panels, ("t2v", "v2t"), ("text to video", "video to text"), strict=True):
        for line, row in enumerate(rows):
            metric = row.metrics.get(f"{direction}/{_OBJECTIVE}")
            if metric:
                panel.errorbar(metric.value, line, xerr=_error(metric), fmt="o", color=colours[row.label], capsize=4)
        panel.set_title(f"{title}, n = {rows[0].num_queries if direction == 't2v' else rows[0].num_gallery}")
        panel.set_xlabel("R@1 (%), 95 % interval")
    panels[0].set_yticks(range(len(rows)), [short(row.label) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_xlim(left=0)
    headline(figure, f"R@1 on {rows[0].split}, protocol {rows[0].protocol}")
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
    _legend_below(figure)
    return figure


def _legend_below(figure: Figure) -> None:
    """One entry a run, though every panel draws it."""
    entries = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
    handles = {text: handle for panel in entries for handle, text in panel}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)


def _group_ranks(samples: Sequence[RankSample]) -> list[list[RankSample]]:
    groups: dict[tuple[str, str, int], list[RankSample]] = {}
    for sample in samples:
        groups.setdefault((sample.split, sample.protocol, sample.num_gallery), []).append(sample)
    return list(groups.values())


def _ranks_drawing(samples: Sequence[RankSample], colours: Mapping[str, str]) -> Drawing:
    first = samples[0]
    where = f"{first.split}, protocol {first.protocol}"
    medians = "; ".join(f"{sample.label} {sample.direction} {np.median(sample.ranks):g}" for sample in samples)
    return render(
        name=f"ranks_{first.split}_{first.protocol}_g{first.num_gallery}",
        title=f"Ranks of the correct item on {where}",
        told=f"Queries in each doubling range of ranks, gallery of {first.num_gallery}. Median ranks: {medians}.",
        draw=lambda: _rank_histogram(samples, colours),
    )


def _rank_histogram(samples: Sequence[RankSample], colours: Mapping[str, str]) -> Figure:
    directions = list(dict.fromkeys(sample.direction for sample in samples))
    edges = [2**power for power in range(_first_power_above(samples[0].num_gallery) + 1)]
    last = samples[0].num_gallery
    ticks = [_range_label(low, min(high - 1, last)) for low, high in pairwise(edges)]
    labels = list(dict.fromkeys(sample.label for sample in samples))
    figure = blank(8.8, 3.0 * len(directions) + 0.26 * math.ceil(len(labels) / 2))
    panels = figure.subplots(len(directions), 1, squeeze=False)[:, 0]
    for panel, direction in zip(panels, directions, strict=True):
        chosen = [sample for sample in samples if sample.direction == direction]
        width = 0.84 / len(chosen)
        for place, sample in enumerate(chosen):
            shares = 100 * np.histogram(sample.ranks, bins=edges)[0] / len(sample.ranks)
            offset = (place - (len(chosen) - 1) / 2) * width
            panel.bar(
                np.arange(len(shares)) + offset, shares, width, color=colours[sample.label], label=short(sample.label)
            )
        panel.set_xticks(range(len(ticks)), ticks)
        panel.grid(visible=False, axis="x")
        panel.set_title(f"{direction}, n = {len(chosen[0].ranks)} queries, gallery of {chosen[0].num_gallery}")
        panel.set_ylabel("queries (%)")
    headline(figure, f"Ranks on {samples[0].split}, protocol {samples[0].protocol}")
    panels[-1].set_xlabel("rank of the correct item (each range twice the one before)")
    _legend_below(figure)
    return figure


def _first_power_above(number: int) -> int:
    """The smallest p with 2**p > number: the doubling ranges 1, 2-3, 4-7, ... below it hold 1..number.

    >>> _first_power_above(200)
    8
    """
    return number.bit_length()


def _range_label(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"

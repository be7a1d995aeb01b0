"""A sweep's metric against one parameter at a time, all else varying: its marginals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from conical.metrics import higher_is_better
from conical.reports.plotting import PALETTE, Drawing, blank, headline, render
from conical.store import Sweep

TAUS = ("tau_tv", "tau_ta", "tau_va")
MIN_WIDTH = 8.2  # inches; room for the headline
_LOG = (*TAUS, "learning_rate", "weight_decay")
_COLUMNS = 4


def marginals(sweep: Sweep, names: Sequence[str], *, name: str, title: str, each: str) -> Drawing:
    """One panel a parameter: the metric of every trial against it.

    Args:
        sweep: with at least one scored trial.
        names: dotted names of the parameters.
        name: file name without suffix.
        title: heading in the report.
        each: what the parameters are, in words.

    Returns:
        The figure; its words name the chosen trial's values.
    """
    best = sweep.best_or_none
    values = {} if best is None else {name: f"{best.settings[name]:.3g}" for name in names if name in best.settings}
    return render(
        name=name,
        title=title,
        told=f"{sweep.metric} against {each}, {counts(sweep)}." + chosen_words(sweep, values),
        draw=lambda: _panels(sweep, names, title=title),
    )


def chosen_words(sweep: Sweep, values: Mapping[str, str]) -> str:
    """The chosen trial and some of its settings as a sentence, a blank before it; "" where none was chosen."""
    best = sweep.best_or_none
    if best is None:
        return ""
    return f" Best: trial {best.number} with " + ", ".join(f"{last_part(n)} {value}" for n, value in values.items())


def axis_label(metric: str) -> str:
    """A metric with its unit.

    >>> axis_label("val/raw/t2v/R1"), axis_label("val/raw/t2v/MedR")
    ('val/raw/t2v/R1 (%)', 'val/raw/t2v/MedR (rank)')
    """
    return f"{metric} (%)" if higher_is_better(metric) else f"{metric} (rank)"


def counts(sweep: Sweep) -> str:
    """How many trials there are, in words."""
    num_stopped = sum(trial.status == "stopped" for trial in sweep.scored)
    num_absent = len(sweep.trials) - len(sweep.scored)
    absent = f", {num_absent} more without a value" if num_absent else ""
    return f"n = {len(sweep.scored)} trials, {num_stopped} stopped early{absent}"


def last_part(name: str) -> str:
    """`tau_tv` of `loss.tau_tv`."""
    return name.rpartition(".")[2]


def is_log(name: str) -> bool:
    """Whether a parameter is read by its ratios."""
    return last_part(name) in _LOG


def _panels(sweep: Sweep, names: Sequence[str], *, title: str) -> Figure:
    columns = min(_COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    figure = blank(max(MIN_WIDTH, 2.4 * columns + 0.4), 3.0 * lines + 0.6)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        _scatter(panel, sweep, name)
    for panel in panels.flat[len(names) :]:
        panel.remove()
    for panel in panels[:, 0]:
        panel.set_ylabel(axis_label(sweep.metric))
    styles: dict[str, Any] = {"marker": "o", "linestyle": "none", "markeredgecolor": PALETTE[0], "markersize": 7}
    handles = [
        Line2D([], [], markerfacecolor=PALETTE[0], label="completed", **styles),
        Line2D([], [], markerfacecolor="white", label="stopped early", **styles),
        Line2D([], [], marker="*", linestyle="none", markersize=14, color=PALETTE[1], label="chosen"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    headline(figure, f"{title}: {sweep.metric} ({counts(sweep)})")
    return figure


def _scatter(panel: Axes, sweep: Sweep, name: str) -> None:
    best = sweep.best_or_none
    for trial in sweep.scored:
        if name not in trial.settings or trial.value is None:
            continue
        point = (trial.settings[name], trial.value)
        if trial == best:
            panel.plot(point[0], point[1], marker="*", markersize=16, color=PALETTE[1], zorder=3)
            panel.annotate(f"{point[0]:.3g}", point, xytext=(0, -16), textcoords="offset points", ha="center", zorder=4)
        else:
            fill = "white" if trial.status == "stopped" else PALETTE[0]
            panel.plot(point[0], point[1], marker="o", markersize=7, markerfacecolor=fill, markeredgecolor=PALETTE[0])
    panel.margins(x=0.1, y=0.15)
    if is_log(name):
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        _mark_range(panel, [trial.settings[name] for trial in sweep.scored if name in trial.settings])
    panel.set_xlabel(f"{name} (log axis)" if is_log(name) else name)


def _mark_range(panel: Axes, values: Sequence[float]) -> None:
    """Ticks at 1, 2, 5 of each decade: two trials an octave apart would otherwise leave a log axis without a number."""
    low, high = min(values) / 1.5, max(values) * 1.5
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wide = len(decades) > 3  # where all of them would touch
    panel.set_xticks([step * 10.0**decade for decade in decades for step in ((1,) if wide else (1, 2, 5))])
    panel.set_xlim(low, high)

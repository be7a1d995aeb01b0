"""Figures of a sweep: marginals of each parameter, prompt mix, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from conical.metrics import merit
from conical.reports.grids import format_parameter
from conical.reports.plotting import PALETTE, Drawing, blank, headline, render
from conical.reports.records import Sweep, Trial
from conical.reports.sweep_marginals import MIN_WIDTH, TAUS, counts, is_log, last_part, marginals

_MIX_PREFIX = "mix."
_MAX_BARS = 30
# a bar's colour and hatching name its source in every report; others take what is left
_MIX_LOOK = {"human": (PALETTE[0], ""), "A": (PALETTE[4], "//"), "B": (PALETTE[2], "\\\\"), "C": (PALETTE[3], "..")}


def sweep_drawings(sweep: Sweep) -> tuple[Drawing, ...]:
    """Every figure the sweep's parameters allow.

    Args:
        sweep: trials with dotted parameter names; temperatures end in `tau_tv`, `tau_ta`, `tau_va`, shares of the
            prompt mix start with `mix.`.

    Returns:
        Temperatures when one was searched; prompt mix and its marginals when one was searched; marginals of other
        parameters; parallel coordinates from two parameters.
    """
    if not sweep.scored:
        return ()
    names = sorted({name for trial in sweep.scored for name in trial.params})
    taus = [name for last in TAUS for name in names if name.rpartition(".")[2] == last]
    shares = _mix_order([name for name in names if name.startswith(_MIX_PREFIX)])
    others = [name for name in names if name not in (*taus, *shares)]
    counted = counts(sweep)
    best = sweep.scored[0] if sweep.best is None else sweep.best
    drawings = []
    if taus:
        drawings.append(marginals(sweep, taus, name="temperatures", title="Temperatures", each="each temperature"))
    if shares:
        drawings.append(
            render(
                name="prompt_mix",
                title="Prompt mix",
                told=f"Share of each text source in each trial, sorted by {sweep.metric_name}, {counted}. Best: trial "
                f"{best.number} with " + ", ".join(f"{last_part(n)} {best.params.get(n, 0.0):.0%}" for n in shares),
                draw=lambda: _prompt_mix(sweep, shares),
            )
        )
        title = "Shares of the prompt mix, one by one"
        drawings.append(
            marginals(sweep, shares, name="mix_marginals", title=title, each="the share of each text source")
        )
    if others:
        title = "Other parameters"
        drawings.append(marginals(sweep, others, name="other_parameters", title=title, each="each other parameter"))
    axes = [*taus, *shares, *others]
    complete = [trial for trial in sweep.scored if all(name in trial.params for name in axes)]
    if len(axes) >= 2 and len(complete) >= 2:
        drawings.append(
            render(
                name="parallel_coordinates",
                title="All parameters at once",
                told=f"One line a trial through its parameters to {sweep.metric_name}, {counted}.",
                draw=lambda: _parallel_coordinates(sweep, complete, axes),
            )
        )
    return tuple(drawings)


def _mix_order(names: Sequence[str]) -> list[str]:
    known = list(_MIX_LOOK)
    return sorted(names, key=lambda n: (known.index(last_part(n)) if last_part(n) in known else len(known), n))


def _prompt_mix(sweep: Sweep, names: Sequence[str]) -> Figure:
    trials = sweep.scored[:_MAX_BARS]
    figure = blank(MIN_WIDTH, 2.0 + 0.34 * len(trials))
    panel = figure.subplots()
    left = np.zeros(len(trials))
    for index, name in enumerate(names):
        colour, hatch = _MIX_LOOK.get(last_part(name), (PALETTE[(5 + index) % len(PALETTE)], "xx"))
        widths = np.array([trial.params.get(name, 0.0) for trial in trials])
        panel.barh(
            range(len(trials)), widths, left=left, color=colour, hatch=hatch, edgecolor="white", label=last_part(name)
        )
        left += widths
    for line, trial in enumerate(trials):
        chosen = trial.number == sweep.best_number
        text = f"{trial.value:.1f}" + (" chosen" if chosen else "")
        panel.text(left[line] + 0.01, line, text, va="center", weight="bold" if chosen else "normal")
    panel.set_yticks(range(len(trials)), [_bar_label(trial) for trial in trials])
    panel.set_ylim(len(trials) - 0.4, -0.6)
    panel.set_xlim(0, max(1.0, float(left.max())))
    panel.grid(visible=False)
    panel.set_xlabel(f"share of training texts; at the right {sweep.metric_name} (%)")
    which = (
        f"the best {len(trials)} of {len(sweep.scored)} trials" if len(trials) < len(sweep.scored) else counts(sweep)
    )
    headline(figure, f"Prompt mix, best on top ({which})")
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure


def _bar_label(trial: Trial) -> str:
    return f"trial {trial.number}" + (", stopped" if trial.status == "stopped" else "")


def _parallel_coordinates(sweep: Sweep, complete: Sequence[Trial], names: Sequence[str]) -> Figure:
    figure = blank(max(MIN_WIDTH, 1.2 * (len(names) + 1) + 0.6), 4.2)
    panel = figure.subplots()
    columns = [_unit([trial.params[name] for trial in complete], is_log=is_log(name)) for name in names]
    columns.append(_unit([trial.value or 0.0 for trial in complete], is_log=False))
    scores = [merit(sweep.metric_name, trial.value or 0.0) for trial in complete]
    shades = colormaps["viridis_r"]
    # the pale end of the map is kept off the white ground
    shade_of = Normalize(min(scores) - 0.2 * (max(scores) - min(scores)), max(scores))
    for index in reversed(range(len(complete))):  # best last: on top
        trial, chosen = complete[index], complete[index].number == sweep.best_number
        panel.plot(
            range(len(columns)),
            [column[index] for column in columns],
            color=PALETTE[1] if chosen else shades(float(shade_of(scores[index]))),
            linewidth=3.5 if chosen else 1.4,
            linestyle="--" if trial.status == "stopped" else "-",
            zorder=3 if chosen else 2,
        )
    _label_axes(panel, complete, names, metric_name=sweep.metric_name)
    headline(figure, f"Parameters and {sweep.metric_name} (n = {len(complete)} trials)")
    figure.supxlabel("thick: chosen; dashed: stopped early; darker: better", fontsize=10)
    return figure


def _label_axes(panel: Axes, trials: Sequence[Trial], names: Sequence[str], *, metric_name: str) -> None:
    ranges = [[trial.params[name] for trial in trials] for name in names]
    ranges.append([trial.value or 0.0 for trial in trials])
    for column, values in enumerate(ranges):
        panel.axvline(column, color="#888888", linewidth=1, zorder=1)
        panel.text(column, 1.04, f"{format_parameter(max(values))}", ha="center", va="bottom", fontsize=9)
        panel.text(column, -0.04, f"{format_parameter(min(values))}", ha="center", va="top", fontsize=9)
    labels = [name + ("\n(log)" if is_log(name) else "") for name in names]
    panel.set_xticks(range(len(ranges)), [*labels, f"{metric_name}\n(%)"])
    panel.tick_params(axis="x", length=0, pad=14)
    panel.set_yticks([])
    panel.set_ylim(-0.02, 1.02)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def _unit(values: Sequence[float], *, is_log: bool) -> list[float]:
    """Values moved to 0..1; one value everywhere sits in the middle."""
    scaled = np.log(values) if is_log else np.asarray(values, dtype=float)
    low, high = float(scaled.min()), float(scaled.max())
    return [0.5] * len(values) if high == low else [float(x) for x in (scaled - low) / (high - low)]

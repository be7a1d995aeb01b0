"""Figures of a sweep: marginals of each parameter, prompt mix, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from conical.metrics import higher_is_better
from conical.reports.grids import format_parameter
from conical.reports.plotting import PALETTE, Drawing, blank, headline, render
from conical.reports.sweep_marginals import (
    MIN_WIDTH,
    TAUS,
    axis_label,
    chosen_words,
    counts,
    is_log,
    last_part,
    marginals,
)
from conical.store import Sweep, Trial

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
    names = sorted({name for trial in sweep.scored for name in trial.settings})
    taus = [name for last in TAUS for name in names if name.rpartition(".")[2] == last]
    shares = _mix_order([name for name in names if name.startswith(_MIX_PREFIX)])
    others = [name for name in names if name not in (*taus, *shares)]
    counted = counts(sweep)
    best = sweep.best_or_none
    drawings = []
    if taus:
        drawings.append(marginals(sweep, taus, name="temperatures", title="Temperatures", each="each temperature"))
    if shares:
        drawings.append(
            render(
                name="prompt_mix",
                title="Prompt mix",
                told=f"Share of each text source in each trial, sorted by {sweep.metric}, {counted}."
                + chosen_words(sweep, {name: f"{best.settings.get(name, 0.0):.0%}" for name in shares} if best else {}),
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
    complete = [trial for trial in sweep.scored if all(name in trial.settings for name in axes)]
    if len(axes) >= 2 and len(complete) >= 2:
        drawings.append(
            render(
                name="parallel_coordinates",
                title="All parameters at once",
                told=f"One line per trial through its parameters to {sweep.metric}, {counted}.",
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
        widths = np.array([trial.settings.get(name, 0.0) for trial in trials])
        panel.barh(
            range(len(trials)), widths, left=left, color=colour, hatch=hatch, edgecolor="white", label=last_part(name)
        )
        left += widths
    best = sweep.best_or_none
    for line, trial in enumerate(trials):
        chosen = trial == best
        text = f"{trial.value:.1f}" + (" chosen" if chosen else "")
        panel.text(left[line] + 0.01, line, text, va="center", weight="bold" if chosen else "normal")
    panel.set_yticks(range(len(trials)), [_bar_label(trial) for trial in trials])
    panel.set_ylim(len(trials) - 0.4, -0.6)
    panel.set_xlim(0, max(1.0, float(left.max())))
    panel.grid(visible=False)
    panel.set_xlabel(f"share of training texts; at the right {axis_label(sweep.metric)}")
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
    columns = [_unit([trial.settings[name] for trial in complete], is_log=is_log(name)) for name in names]
    columns.append(_unit([trial.value or 0.0 for trial in complete], is_log=False))
    scores = [trial.value or 0.0 for trial in complete]
    shades, best = shades_of(scores, sweep.metric), sweep.best_or_none
    for index in reversed(range(len(complete))):  # best last: on top
        trial, chosen = complete[index], complete[index] == best
        panel.plot(
            range(len(columns)),
            [column[index] for column in columns],
            color=PALETTE[1] if chosen else shades[index],
            linewidth=3.5 if chosen else 1.4,
            linestyle="--" if trial.status == "stopped" else "-",
            zorder=3 if chosen else 2,
        )
    _label_axes(panel, complete, names, metric=sweep.metric)
    headline(figure, f"Parameters and {sweep.metric} (n = {len(complete)} trials)")
    figure.supxlabel("thick: chosen; dashed: stopped early; darker: better", fontsize=10)
    return figure


def shades_of(scores: Sequence[float], metric: str) -> list[tuple[float, float, float, float]]:
    """A colour for each score, red, green, blue, alpha: the better, the darker."""
    low, high = min(scores), max(scores)
    # the pale end of the map is kept off the white ground
    margin = 0.2 * (high - low)
    if higher_is_better(metric):
        scale, shades = Normalize(low - margin, high), colormaps["viridis_r"]
    else:
        scale, shades = Normalize(low, high + margin), colormaps["viridis"]
    return [shades(float(scale(score))) for score in scores]


def _label_axes(panel: Axes, trials: Sequence[Trial], names: Sequence[str], *, metric: str) -> None:
    ranges = [[trial.settings[name] for trial in trials] for name in names]
    ranges.append([trial.value or 0.0 for trial in trials])
    for column, values in enumerate(ranges):
        panel.axvline(column, color="#888888", linewidth=1, zorder=1)
        panel.text(column, 1.04, f"{format_parameter(max(values))}", ha="center", va="bottom", fontsize=9)
        panel.text(column, -0.04, f"{format_parameter(min(values))}", ha="center", va="top", fontsize=9)
    labels = [name + ("\n(log)" if is_log(name) else "") for name in names]
    panel.set_xticks(range(len(ranges)), [*labels, axis_label(metric).replace(" (", "\n(")])
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

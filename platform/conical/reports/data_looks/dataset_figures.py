"""Distributions of a dataset: a table and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table
from rich.text import Text

from conical.datasets.checks.distributions import Distribution
from conical.reports.plotting import PALETTE, Drawing, blank, headline, render

_MAX_BINS = 40
_MAX_WHOLE_BINS = 100  # up to here each whole number has a bin of its own
_SHOWN_PERCENTILE = 99.5  # a few very long texts would squeeze all others into one bar
# colour, and width of the line: a narrow one upon a wide one shows both where they coincide
_SPLIT_LINES = {"train": (PALETTE[5], 4.0), "val": (PALETTE[1], 2.2), "test": (PALETTE[6], 1.1)}


def counts_table(splits: Mapping[str, Mapping[str, int]], *, title: str) -> Table:
    """A row per split.

    Args:
        splits: split to counts by heading; the same headings for each.

    Returns:
        The table.
    """
    headings = list(next(iter(splits.values())))
    table = Table(title=Text(title), title_justify="left")
    table.add_column("Split")
    for heading in headings:
        table.add_column(heading.capitalize(), justify="right")
    for split, counts in splits.items():
        table.add_row(split, *(f"{counts[heading]:,}" for heading in headings))
    return table


def distributions_table(distributions: Sequence[Distribution]) -> Table:
    """A row a quantity: number of values, least, median, mean, 95th percentile, most; over all splits."""
    table = Table(title=Text("Distributions, all splits"), title_justify="left")
    table.add_column("Quantity", overflow="fold")
    for heading in ("Values", "Least", "Median", "Mean", "95 %", "Most"):
        table.add_column(heading, justify="right")
    for one in distributions:
        values = one.values
        numbers = (values.min(), np.median(values), values.mean(), np.percentile(values, 95), values.max())
        name = f"{one.name} ({one.unit})" if one.unit else one.name
        table.add_row(Text(name), f"{len(values):,}", *(_short(number) for number in numbers))
    return table


def distributions_drawing(distributions: Sequence[Distribution], *, dataset: str) -> Drawing:
    """Histograms, a panel a quantity, a line per split.

    Returns:
        The figure.
    """
    medians = "; ".join(
        f"{one.name} {_short(float(np.median(one.values)))} {one.unit}".strip() for one in distributions
    )
    return render(
        name="distributions",
        title=f"Distributions of {dataset}",
        told=f"Histograms of {dataset} by split. Medians: {medians}.",
        draw=lambda: _histograms(distributions, dataset),
    )


def _histograms(distributions: Sequence[Distribution], dataset: str) -> Figure:
    columns = min(2, len(distributions))
    rows = math.ceil(len(distributions) / columns)
    figure = blank(4.6 * columns, 0.7 + 2.6 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, one in zip(panels, distributions, strict=False):
        _histogram(panel, one)
    for panel in panels[len(distributions) :]:
        panel.set_axis_off()
    splits = {split for one in distributions for split in one.splits}
    handles = [
        panels[0].plot([], [], color=colour, linewidth=width, label=split)[0]
        for split, (colour, width) in _SPLIT_LINES.items()
        if split in splits
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    headline(figure, dataset)
    return figure


def _histogram(panel: Axes, one: Distribution) -> None:
    edges = bin_edges(one)
    beyond = int((one.values > edges[-1]).sum())
    for split, values in one.splits.items():
        shares = 100 * np.histogram(values, bins=edges)[0] / len(values)
        colour, width = _SPLIT_LINES[split]
        panel.stairs(shares, edges, color=colour, linewidth=width)
    if not one.unit:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_title(one.name + (f" ({beyond:,} beyond {_short(np.floor(edges[-1]))})" if beyond else ""))
    panel.set_xlabel(one.unit or "number")
    panel.set_ylabel("share (%)")
    panel.set_ylim(bottom=0)


def bin_edges(one: Distribution) -> np.ndarray:
    """Edges of equal bins, up to where all but a few values are; the first that is not empty starts at the least."""
    values = one.values
    least, most = float(values.min()), float(np.percentile(values, _SHOWN_PERCENTILE))
    if values.max() <= 1.5 * most:
        most = float(values.max())
    if one.unit:
        return np.linspace(least, most if most > least else least + 1, _MAX_BINS + 1)
    # one empty bin on either side, so that a single value is a bar and not a wall
    first, last = math.floor(least), math.ceil(most) + 1
    num_whole = last - first + 2
    step = 1 if num_whole <= _MAX_WHOLE_BINS else math.ceil(num_whole / _MAX_BINS)
    return np.arange(first - step, last + 1 + step, step) - 0.5


def _short(number: float) -> str:
    """Three digits at least.

    >>> _short(18.123), _short(12345.6)
    ('18.1', '12,346')
    """
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"

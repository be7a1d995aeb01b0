"""Histograms: ranks of the correct item, and how often each gallery item is retrieved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from conical.reports.plotting import Drawing, blank, headline, legend_below, render, short
from conical.reports.samples import HubSample, RankSample

Sample = TypeVar("Sample", RankSample, HubSample)


def rank_drawings(samples: Sequence[RankSample], colours: Mapping[str, str]) -> tuple[Drawing, ...]:
    """One figure for each split, protocol and gallery size.

    Args:
        colours: one for each label.

    Returns:
        Share of queries in each doubling range of ranks, one panel per direction.
    """
    return tuple(_rank_drawing(group, colours) for group in _grouped(samples, lambda sample: sample.num_gallery))


def hub_drawings(samples: Sequence[HubSample], colours: Mapping[str, str]) -> tuple[Drawing, ...]:
    """One figure for each split, protocol and k.

    Args:
        colours: one for each label.

    Returns:
        Share of items in each doubling range of k-occurrence, one panel per direction.
    """
    return tuple(_hub_drawing(group, colours) for group in _grouped(samples, lambda sample: sample.k))


def _grouped(samples: Sequence[Sample], last: Callable[[Sample], int]) -> list[list[Sample]]:
    """Samples of one split, protocol and `last`, in order of first appearance."""
    groups: dict[tuple[str, str, int], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.split, sample.protocol, last(sample)), []).append(sample)
    return list(groups.values())


def _rank_drawing(samples: Sequence[RankSample], colours: Mapping[str, str]) -> Drawing:
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
    last = samples[0].num_gallery
    figure = _histograms(samples, colours, values=lambda sample: sample.ranks, first=1, last=lambda _: last)
    for panel, direction in zip(figure.axes, _directions(samples), strict=True):
        num_queries = next(len(sample.ranks) for sample in samples if sample.direction == direction)
        panel.set_title(f"{direction}, n = {num_queries} queries, gallery of {last}")
        panel.set_ylabel("queries (%)")
    headline(figure, f"Ranks on {samples[0].split}, protocol {samples[0].protocol}")
    figure.axes[-1].set_xlabel("rank of the correct item (each range twice the one before)")
    legend_below(figure)
    return figure


def _hub_drawing(samples: Sequence[HubSample], colours: Mapping[str, str]) -> Drawing:
    first = samples[0]
    where = f"{first.split}, protocol {first.protocol}"
    told = "; ".join(f"{sample.label} {sample.direction} {sample.skewness:+.1f}" for sample in samples)
    return render(
        name=f"hubs_{first.split}_{first.protocol}_k{first.k}",
        title=f"How often each item is retrieved on {where}",
        told=f"Gallery items by the number of queries that have them among their first {first.k} hits. Skewness: "
        f"{told}.",
        draw=lambda: _hub_histogram(samples, colours),
    )


def _hub_histogram(samples: Sequence[HubSample], colours: Mapping[str, str]) -> Figure:
    # an item that ties for a last place has a fraction of a hit: to the nearest whole one
    figure = _histograms(
        samples,
        colours,
        values=lambda sample: sample.counts.round(),
        first=0,
        last=lambda chosen: round(max(float(sample.counts.max()) for sample in chosen)),
    )
    for panel, direction in zip(figure.axes, _directions(samples), strict=True):
        chosen = next(sample for sample in samples if sample.direction == direction)
        items = "videos" if direction == "t2v" else "captions"
        panel.set_title(
            f"{direction}, {len(chosen.counts)} {items}, {chosen.num_queries} queries: "
            f"{chosen.counts.mean():.1f} times on average"
        )
        panel.set_ylabel(f"{items} (%)")
    headline(figure, f"Hubness on {samples[0].split}, protocol {samples[0].protocol}")
    figure.axes[-1].set_xlabel(f"among the first {samples[0].k} hits of so many queries (doubling ranges)")
    legend_below(figure)
    return figure


def _directions(samples: Sequence[RankSample] | Sequence[HubSample]) -> list[str]:
    return list(dict.fromkeys(sample.direction for sample in samples))


def _histograms(
    samples: Sequence[Sample],
    colours: Mapping[str, str],
    *,
    values: Callable[[Sample], NDArray[np.floating]],
    first: int,
    last: Callable[[Sequence[Sample]], int],
) -> Figure:
    """Bars side by side, in percent of each sample; one panel per direction, with the ranges `first` to its `last`."""
    directions, labels = _directions(samples), list(dict.fromkeys(sample.label for sample in samples))
    figure = blank(8.8, 3.0 * len(directions) + 0.26 * math.ceil(len(labels) / 2))
    panels = figure.subplots(len(directions), 1, squeeze=False)[:, 0]
    for panel, direction in zip(panels, directions, strict=True):
        chosen = [sample for sample in samples if sample.direction == direction]
        width = 0.84 / len(chosen)
        edges = _doubling_edges(first, last(chosen))
        for place, sample in enumerate(chosen):
            numbers = values(sample)
            shares = 100 * np.histogram(numbers, bins=edges)[0] / len(numbers)
            offset = (place - (len(chosen) - 1) / 2) * width
            panel.bar(
                np.arange(len(shares)) + offset, shares, width, color=colours[sample.label], label=short(sample.label)
            )
        ticks = [_range_label(low, min(high - 1, last(chosen))) for low, high in pairwise(edges)]
        panel.set_xticks(range(len(ticks)), ticks)
        panel.grid(visible=False, axis="x")
    return figure


def _doubling_edges(first: int, last: int) -> list[int]:
    """Edges of half-open ranges 1, 2-3, 4-7, ... that hold 1..last; before them one for 0 where `first` is 0.

    >>> _doubling_edges(1, 200)
    [1, 2, 4, 8, 16, 32, 64, 128, 256]
    >>> _doubling_edges(0, 3)
    [0, 1, 2, 4]
    """
    return [*range(first, 1), *(2**power for power in range(max(1, last).bit_length() + 1))]


def _range_label(low: int, high: int) -> str:
    return str(low) if low >= high else f"{low}–{high}"

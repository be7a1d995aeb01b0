"""Figures that others published, as data; nobody here has reproduced them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from conical.core.options import require_choice


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published result.

    Args:
        dataset: `msrvtt`, `msvd` or `didemo`.
        split: name of the test split (`1kA`).
        direction: `t2v` or `v2t`.
        backbone: image tower, `ViT-B/32` or `ViT-B/16`.
        method: name in the literature.
        has_extra_data: trained on more than the dataset.
        metrics: percent for R1, R5, R10; MeanR where it was given.
    """

    dataset: str
    split: str
    direction: str
    backbone: str
    method: str
    has_extra_data: bool
    metrics: dict[str, float]


@cache
def _all_rows() -> tuple[PublishedRow, ...]:
    text = resources.files("conical.reports").joinpath("published.csv").read_text(encoding="utf-8")
    lines = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        PublishedRow(
            dataset=line["dataset"],
            split=line["split"],
            direction=line["direction"],
            backbone=line["backbone"],
            method=line["method"],
            has_extra_data=line["extra_data"] == "yes",
            metrics={name: float(line[name]) for name in ("R1", "R5", "R10", "MeanR") if line[name]},
        )
        for line in lines
    )


def published_rows(dataset: str | None = None) -> tuple[PublishedRow, ...]:
    """The published results of one dataset, or all.

    Args:
        dataset: `msrvtt`, `msvd`, `didemo`; None for all.

    Returns:
        Rows in the order of [CEO25]'s table.

    Raises:
        ValueError: nothing is published here for `dataset`.
    """
    rows = _all_rows()
    if dataset is None:
        return rows
    require_choice("dataset", dataset, list(dict.fromkeys(row.dataset for row in rows)))
    return tuple(row for row in rows if row.dataset == dataset)

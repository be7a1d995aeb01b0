"""Parts of a report that come from single runs: learning curves, ranks, hubs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conical.metrics import k_occurrence
from conical.reports import DIRECTIONS, Curve, HubSample, RankSample
from conical.runs.report.methods import ReportedRun

_HUBNESS_K = 10


def curves(run: ReportedRun) -> list[Curve]:
    """Loss and the metric that chose the epoch, over the epochs, where there is more than one."""
    rows = run.folder.read_curve()
    curves_of_run = []
    for name in ("train/loss", run.record.config["select_by"]):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        if len(points) > 1:
            steps, values = zip(*points, strict=True)
            curves_of_run.append(Curve(label=run.label, name=name, steps=steps, values=values))
    return curves_of_run


def rank_samples(runs: Sequence[ReportedRun], *, split: str, protocol: str) -> list[RankSample]:
    """Ranks of each run that was scored, text to video first."""
    return [
        RankSample(
            label=run.label,
            split=split,
            protocol=protocol,
            direction=direction,
            ranks=ranks,
            num_gallery=scored.num_gallery,
        )
        for direction in DIRECTIONS
        for run in runs
        if (scored := run.scored(split, protocol)) is not None
        for ranks in (scored.ranks_t2v if direction == "t2v" else scored.ranks_v2t,)
    ]


def hub_samples(runs: Sequence[ReportedRun], *, split: str, protocol: str) -> list[HubSample]:
    """How often videos are retrieved for texts, and single captions for videos."""
    samples = []
    for direction in DIRECTIONS:
        for run in runs:
            scored = run.scored(split, protocol)
            if scored is None:
                continue
            # a video without a text asks nothing
            asking = np.unique(scored.text_video)
            scores = scored.similarity if direction == "t2v" else scored.similarity.T[asking]
            samples.append(
                HubSample(
                    label=run.label,
                    split=split,
                    protocol=protocol,
                    direction=direction,
                    counts=k_occurrence(scores, k=_HUBNESS_K),
                    k=_HUBNESS_K,
                    num_queries=len(scores),
                )
            )
    return samples

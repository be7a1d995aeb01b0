"""How many trials of a sweep might as well have won, judged all at once on the queries of val."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from conical.core.errors import StoreError
from conical.metrics import parse_metric_name, worse_than_best
from conical.store import RunFolder, Sweep


def mark_indistinguishable(sweep: Sweep, runs: Path) -> Sweep:
    """The sweep with the trials that cannot be told from its best one.

    Each trial's ranks on val at its best epoch are compared with the winner's on the same queries, all pairs at once
    (`conical.metrics.worse_than_best`): the chance to call any equal trial worse is 5 % in all, though the winner is
    the highest of several noisy values. It speaks about other queries; a trial is one training, so another training of
    its settings is not covered.

    Args:
        runs: folder of the runs of its experiment.

    Returns:
        The record with `indistinguishable` filled in; unchanged where the winner's ranks were not kept.
    """
    name, winner = parse_metric_name(sweep.metric), sweep.best
    best = RunFolder(runs / winner.run_key).read_val_ranking()
    if best is None:
        return sweep
    others = {
        trial.number: RunFolder(runs / trial.run_key).read_val_ranking()
        for trial in sweep.trials
        if trial.number != winner.number and trial.value is not None
    }
    tested = {number: ranked for number, ranked in others.items() if ranked is not None}
    for number, ranked in tested.items():
        if not np.array_equal(ranked.groups, best.groups):
            raise StoreError(
                f"trial {number} of sweep {sweep.key} was scored on other val queries than the best one: delete the "
                "sweep's folder and tune again, finished runs are kept"
            )
    rankings = [best.ranking, *(ranked.ranking for ranked in tested.values())]
    is_worse = worse_than_best(rankings, metric=name.metric, groups=best.groups)[1:]
    near = tuple(number for number, worse in zip(tested, is_worse, strict=True) if not worse)
    how = f"paired bootstrap on the queries of val, all pairs of {len(rankings)} trials at once, 5 % in all"
    return dataclasses.replace(sweep, indistinguishable=near, indistinguishable_test=how)

"""How many trials of a sweep might as well have won: a paired test of each against the best, on the queries of val."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from conical.core.errors import StoreError
from conical.metrics import NO_DIFFERENCE, compare, parse_metric_name
from conical.store import RunFolder, Sweep

_LEVEL = 0.05
# resamples beyond the end of each corrected interval: fewer would leave its place to chance
_TAIL_RESAMPLES = 10


def mark_indistinguishable(sweep: Sweep, runs: Path) -> Sweep:
    """The sweep with the trials that cannot be told from its best one.

    Each trial's ranks on val at its best epoch are compared with the winner's on the same queries (paired bootstrap).
    With T trials there are T - 1 tests, so each interval is widened to 1 - 0.05 / (T - 1) (Bonferroni): the chance to
    call any equal trial worse stays below 5 %. That the winner is the highest of T noisy values is not corrected for,
    so the number is rather too small than too large.

    Args:
        runs: folder of the runs of its experiment.

    Returns:
        The record with `indistinguishable` filled in; unchanged where the winner's ranks were not kept.

    Source: Dunn 1961, "Multiple comparisons among means", for the correction.
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
    num_tests = max(1, len(tested))
    near = []
    for number, ranked in tested.items():
        if not np.array_equal(ranked.groups, best.groups):
            raise StoreError(
                f"trial {number} of sweep {sweep.key} was scored on other val queries than the best one: delete the "
                "sweep's folder and tune again, finished runs are kept"
            )
        verdict = compare(
            ranked.ranking,
            best.ranking,
            metric=name.metric,
            groups=best.groups,
            confidence=1 - _LEVEL / num_tests,
            num_resamples=max(1000, round(2 * _TAIL_RESAMPLES * num_tests / _LEVEL)),
        ).verdict
        if verdict == NO_DIFFERENCE:
            near.append(number)
    how = f"paired bootstrap on the queries of val, {num_tests} tests, 5 % in all (Bonferroni)"
    return dataclasses.replace(sweep, indistinguishable=tuple(near), indistinguishable_test=how)

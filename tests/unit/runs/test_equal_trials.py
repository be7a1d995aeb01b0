"""Which trials might as well have won: a paired test on val, corrected for their number."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from conical.core.errors import StoreError
from conical.metrics import Ranking, compare
from conical.reports import sweep_sentences
from conical.runs.equal_trials import mark_indistinguishable
from conical.store import RankedQueries, RunFolder, Sweep, Trial

NUM = 200


def ranked(num_hits: int, groups=None) -> RankedQueries:
    """The first `num_hits` queries find their video at once, the others late."""
    better = np.where(np.arange(NUM) < num_hits, 0, 30)
    ones = np.ones(NUM, np.int64)
    return RankedQueries(
        ranking=Ranking(better=better, tied=0 * ones, positives_tied=ones, num_gallery=NUM),
        groups=np.arange(NUM) if groups is None else groups,
    )


def sweep_of(root: Path, *hits: int | None) -> Sweep:
    trials = []
    for number, count in enumerate(hits):
        value = None if count is None else 100 * count / NUM
        trials.append(Trial(number=number, run_key=f"k{number}", settings={}, value=value, status="finished", epochs=1))
        if count is not None:
            ranked(count).write(RunFolder(root / f"k{number}").val_ranking)
    return Sweep(key="s", metric="val/raw/t2v/R1", tracking_id="t", is_finished=True, trials=tuple(trials))


def test_trials_that_do_not_differ_from_the_best_are_named(tmp_path: Path) -> None:
    found = mark_indistinguishable(sweep_of(tmp_path, 20, 99, 100, 40), tmp_path)
    # 99 hits against 100 may be chance, 40 and 20 are not
    assert found.best.number == 2
    assert found.indistinguishable == (1,)
    assert "all pairs of 4 trials at once, 5 % in all" in found.indistinguishable_test
    (sentence,) = sweep_sentences(found)
    assert sentence.startswith("Indistinguishable from trial 2: 1 of the other 3 scored trials, number 1 (paired")


def test_a_trial_is_kept_that_a_single_test_would_drop(tmp_path: Path) -> None:
    # each trial fails on 6 queries of its own: one alone is worse in 6 against 0, but of 20 one is always the last
    best = ranked(100)
    alone = compare(ranked(94).ranking, best.ranking)
    assert alone.verdict == "b is better"
    two = sweep_of(tmp_path / "two", 100, 94)
    assert mark_indistinguishable(two, tmp_path / "two").indistinguishable == ()
    many = sweep_of(tmp_path / "many", 100, *[94] * 19)
    for number in range(1, 20):
        better = np.where(np.arange(NUM) < 100, 0, 30)
        better[5 * number : 5 * number + 6] = 30
        ranking = dataclasses.replace(best.ranking, better=better)
        dataclasses.replace(best, ranking=ranking).write(RunFolder(tmp_path / "many" / f"k{number}").val_ranking)
    assert mark_indistinguishable(many, tmp_path / "many").indistinguishable == tuple(range(1, 20))


def test_a_trial_without_a_value_is_no_candidate(tmp_path: Path) -> None:
    found = mark_indistinguishable(sweep_of(tmp_path, 100, None, 10), tmp_path)
    assert found.indistinguishable == ()
    (sentence,) = sweep_sentences(found)
    assert sentence.startswith("Trial 0 is significantly better than the other 1 scored trials (paired")


def test_a_sweep_whose_winner_kept_no_ranks_is_left_untested(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 100, 90)
    RunFolder(tmp_path / "k0").val_ranking.unlink()
    assert mark_indistinguishable(sweep, tmp_path) == sweep
    assert sweep.indistinguishable is None


def test_trials_scored_on_other_queries_are_refused(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 100, 90)
    ranked(90, groups=np.arange(NUM)[::-1]).write(RunFolder(tmp_path / "k1").val_ranking)
    with pytest.raises(StoreError, match="trial 1 of sweep s was scored on other val queries than the best one"):
        mark_indistinguishable(sweep, tmp_path)

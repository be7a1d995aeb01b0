"""A comparison refuses what contradicts itself, and names its winner."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from conical.metrics import Comparison, compare

FOUND = Comparison(
    metric="R1",
    difference=4.2,
    low=1.1,
    high=7.4,
    verdict="a is better",
    wins=61,
    losses=40,
    draws=99,
    seed_differences=(4.0, 4.4),
)


def test_a_verdict_must_agree_with_its_interval() -> None:
    message = "verdict must be 'no significant difference' exactly when the interval holds zero"
    for changes in ({"low": -0.1}, {"low": 0.0}, {"verdict": "no significant difference"}):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(FOUND, **changes)
    with pytest.raises(ValueError, match="low <= high"):
        dataclasses.replace(FOUND, low=9.0)
    with pytest.raises(ValueError, match="verdict must be one of a is better, b is better, no significant difference"):
        dataclasses.replace(FOUND, verdict="better")


def test_the_winner_goes_by_its_label() -> None:
    labelled = dataclasses.replace(FOUND, label_a="CEO", label_b="InfoNCE")
    assert (FOUND.winner, labelled.winner) == ("a", "CEO")
    assert dataclasses.replace(labelled, verdict="b is better").winner == "InfoNCE"
    assert dataclasses.replace(labelled, low=-1.0, verdict="no significant difference").winner is None
    assert FOUND.num_seeds == 2


@pytest.mark.parametrize("metric", ["R1", "MedR", "MeanR"])
def test_the_system_with_the_lower_ranks_wins_by_every_metric(metric: str) -> None:
    worse = compare(np.full(40, 9), np.ones(40), metric=metric)
    assert (worse.winner, worse.wins, worse.losses) == ("b", 0, 40)
    better = compare(np.ones(40), np.full(40, 9), metric=metric)
    assert (better.winner, better.wins, better.losses) == ("a", 40, 0)

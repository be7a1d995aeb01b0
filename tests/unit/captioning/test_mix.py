"""The prompt mix is a point on the simplex, and draws follow it."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections import Counter

import numpy as np
import pytest

from conical.captioning import PromptMix
from conical.core.hashing import stable_hash

ALL = ("human", "A", "B", "C")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"human": 0.5, "A": 0.5, "B": 0.5}, r"must sum to 1, got 1.5 \(human = 0.5, .*: divide each by 1.5"),
        ({"human": 0.0, "A": 0.0, "B": 0.0}, "must sum to 1, got 0 .*give one source a positive probability"),
        ({"human": 1.2, "A": -0.2, "B": 0.0}, "mix.A must be between 0 and 1, got -0.2"),
        ({"human": float("nan"), "A": 0.0, "B": 0.0}, "mix.human must be between 0 and 1, got nan"),
        ({"A": float("inf")}, "mix.A must be between 0 and 1, got inf"),
        ({}, "must sum to 1, got 0"),
    ],
)
def test_points_off_the_simplex_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptMix(values)


def test_draws_follow_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    mix = PromptMix({"human": 0.5, "A": 0.2, "B": 0.2, "C": 0.0, "mine": 0.1})
    counts = Counter(mix.draw(rng, (*ALL, "mine")) for _ in range(20_000))
    # three standard errors of a proportion of one half over 20,000 draws are 0.011
    assert counts["human"] / 20_000 == pytest.approx(0.5, abs=0.011)
    assert counts["A"] / 20_000 == pytest.approx(0.2, abs=0.011)
    assert counts["mine"] / 20_000 == pytest.approx(0.1, abs=0.011)
    assert counts["C"] == 0


def test_what_is_not_available_is_left_out_and_the_rest_renormalised() -> None:
    rng = np.random.default_rng(0)
    mix = PromptMix({"human": 0.2, "A": 0.6, "B": 0.2})
    counts = Counter(mix.draw(rng, ("B", "human")) for _ in range(20_000))
    assert set(counts) == {"human", "B"}
    assert counts["B"] / 20_000 == pytest.approx(0.5, abs=0.011)


@pytest.mark.parametrize("available", [(), ("C",), ("human",)])
def test_a_clip_with_nothing_that_the_mix_wants_gets_its_human_caption(available: tuple[str, ...]) -> None:
    assert PromptMix({"A": 1.0}).draw(np.random.default_rng(0), available) == "human"


def test_the_order_of_what_is_available_does_not_matter() -> None:
    mix = PromptMix()
    forward = [mix.draw(np.random.default_rng(seed), ALL) for seed in range(50)]
    backward = [mix.draw(np.random.default_rng(seed), ALL[::-1]) for seed in range(50)]
    assert forward == backward


def test_each_draw_takes_one_number_whatever_is_available() -> None:
    mix, first, second = PromptMix(), np.random.default_rng(0), np.random.default_rng(0)
    mix.draw(first, ())
    mix.draw(second, ALL)
    assert first.random() == second.random()


def test_a_sum_within_rounding_is_accepted() -> None:
    assert PromptMix({"human": 1 / 3, "A": 1 / 3, "B": 1 / 3}).sources() == ("human", "A", "B")


def test_the_order_in_which_a_mix_is_written_does_not_matter() -> None:
    shares = {"human": 0.3, "A": 0.1, "B": 0.1, "C": 0.1, "AA": 0.2, "Z": 0.2}
    mixes = [PromptMix(dict(order)) for order in itertools.islice(itertools.permutations(shares.items()), 0, 720, 97)]
    assert {mix.sources() for mix in mixes} == {("human", "A", "B", "C", "AA", "Z")}
    assert len({hash(mix) for mix in mixes}) == len({stable_hash(dict(mix)) for mix in mixes}) == 1
    drawn = [[mix.draw(np.random.default_rng(seed), tuple(shares)) for seed in range(30)] for mix in mixes]
    assert all(one == drawn[0] for one in drawn)
    assert len(set(drawn[0])) > 3


def test_draws_by_hand() -> None:
    # bounds of human, A, B are 0.4, 0.8, 1.0; without A they are 0.4 and 0.6, and the number is scaled to 0.6
    class Fixed:
        def __init__(self, number: float) -> None:
            self.random = lambda: number

    mix = PromptMix({"B": 0.2, "A": 0.4, "human": 0.4})
    drawn = [mix.draw(Fixed(point), ALL) for point in (0.0, 0.39, 0.41, 0.79, 0.81, 0.999)]
    assert drawn == ["human", "human", "A", "A", "B", "B"]
    assert [mix.draw(Fixed(point), ("human", "B")) for point in (0.66, 0.67)] == ["human", "B"]


def test_a_share_of_zero_is_no_share() -> None:
    mix = PromptMix({"human": 1, "A": 0})
    assert mix == PromptMix({"human": 1.0})
    assert hash(mix) == hash(PromptMix({"human": 1.0}))
    assert (dict(mix), mix.get("A", 0.0), "A" in mix) == ({"human": 1.0}, 0.0, False)
    assert mix != PromptMix({"human": 0.5, "A": 0.5})


def test_a_mix_cannot_be_changed_and_survives_a_copy() -> None:
    mix = PromptMix()
    with pytest.raises(TypeError):
        mix["A"] = 1.0  # type: ignore[index]
    with pytest.raises(AttributeError):
        mix.A = 1.0  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(mix)) == copy.deepcopy(mix) == mix

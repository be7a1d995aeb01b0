"""How often equal systems are called different, by simulation: `compare` over seeds, and the trials of a sweep.

The queries of one video share its difficulty, and every training shifts all its queries at once:

    query q of video v is found by training s where centre + difficulty_v + taste_q + shift_s + noise_qs > 0

Two equal systems draw their tastes (which queries suit them, in every training) and shifts from one distribution, so
whatever is claimed between them is false. A system that does not vary (weights as loaded) meets one that does, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.metrics import NO_DIFFERENCE, compare, worse_than_best
from conical.workbench.bench.harness import markdown_table

NUM_VIDEOS = 100
TEXTS_A_VIDEO = 5
SEEDS = (2, 3, 5, 10)
TRIALS = (6, 12, 24)
# standard deviation over trainings of R@1, in points: none, and those seen in trials of the platform
SEED_SPREADS = (0.0, 2.9, 5.0)
_CENTRE = -0.4  # R@1 near 40 %
# of the latent normal, beside noise of 1: the difficulty of a video, and how well a query suits a system
_DIFFICULTY, _TASTE = 0.8, 0.6
_NUM_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class ClaimRate:
    """One simulated situation.

    Args:
        what: the situation in words.
        count: seeds of each system, or trials of a sweep.
        rate: share of the repeats in which a difference was claimed that is not there, in [0, 1].
        num_repeats: how many there were.
    """

    what: str
    count: int
    rate: float
    num_repeats: int

    @property
    def error(self) -> float:
        """Standard error of the rate."""
        return float(np.sqrt(self.rate * (1 - self.rate) / self.num_repeats))


def simulate_comparisons(num_repeats: int, *, seed: int = 0) -> Iterator[ClaimRate]:
    """Equal systems of several seeds, both varying alike, and one against one that does not vary."""
    for number, (spread_a, spread_b) in enumerate((*((spread, spread) for spread in SEED_SPREADS), (5.0, 0.0))):
        for num_seeds in SEEDS:
            rng = np.random.default_rng([seed, num_seeds, number])
            claims = 0
            for _ in range(num_repeats):
                easy = _difficulties(rng)
                a, b = (_ranks(rng, easy, num_seeds, spread) for spread in (spread_a, spread_b))
                found = compare(a, b, groups=_groups(), num_resamples=_NUM_RESAMPLES, seed=int(rng.integers(2**31)))
                claims += found.verdict != NO_DIFFERENCE
            what = f"seeds, standard deviation {spread_a:g} and {spread_b:g} points"
            yield ClaimRate(what=what, count=num_seeds, rate=claims / num_repeats, num_repeats=num_repeats)


def simulate_sweeps(num_repeats: int, *, seed: int = 0) -> Iterator[ClaimRate]:
    """Equal trials, one training each: how often at least one is called worse than the best."""
    for num_trials in TRIALS:
        rng = np.random.default_rng([seed, num_trials])
        claims = 0
        for _ in range(num_repeats):
            easy = _difficulties(rng)
            ranks = [_ranks(rng, easy, 1, 0.0) for _ in range(num_trials)]
            worse = worse_than_best(ranks, groups=_groups(), seed=int(rng.integers(2**31)))
            claims += bool(worse.any())
        yield ClaimRate(what="trials of a sweep", count=num_trials, rate=claims / num_repeats, num_repeats=num_repeats)


def page_text(rates: list[ClaimRate]) -> str:
    """The table, in Markdown."""
    rows = [(one.what, str(one.count), f"{100 * one.rate:.1f} %", f"{100 * one.error:.1f} %") for one in rates]
    table = markdown_table(("situation", "seeds or trials", "false claims", "standard error"), rows)
    return (
        f"Two systems that are equal, {NUM_VIDEOS} videos with {TEXTS_A_VIDEO} texts each, R@1 near 40 %, "
        f"{rates[0].num_repeats:,} repeats a line, 95 % intervals: how often `compare` calls them different, and how "
        f"often a sweep of equal trials calls one of them worse than its best.\n\n{table}\n\n"
        "With one seed `compare` speaks about other queries only: what another training would give is not in one "
        "number, and no interval covers it. A trial is one training, so the same holds for a sweep.\n"
    )


def _groups() -> NDArray[np.int64]:
    return np.repeat(np.arange(NUM_VIDEOS), TEXTS_A_VIDEO)


def _difficulties(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.repeat(rng.normal(scale=_DIFFICULTY, size=NUM_VIDEOS), TEXTS_A_VIDEO)


def _ranks(rng: np.random.Generator, easy: NDArray[np.float64], num_rows: int, spread: float) -> NDArray[np.float64]:
    """(row, query) ranks, 1 or 2; a row's shift moves R@1 by `spread` points in the standard deviation."""
    # the slope of R@1 in the shift: the density of the latent normal at the centre
    scale = np.sqrt(1 + _DIFFICULTY**2 + _TASTE**2)
    slope = 100 * np.exp(-((_CENTRE / scale) ** 2) / 2) / np.sqrt(2 * np.pi) / scale
    shift = rng.normal(scale=spread / slope, size=(num_rows, 1))
    taste = rng.normal(scale=_TASTE, size=len(easy))
    return np.where(_CENTRE + easy + taste + shift + rng.normal(size=(num_rows, len(easy))) > 0, 1.0, 2.0)

"""The prompt mix: with which probability a training step takes the human caption or a supplement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from conical.captioning.prompts import PROMPTS
from conical.core.options import require

HUMAN = "human"
# what [CEO25] recommends: A and B help, C less (docs/method.md 3)
_DEFAULT = {HUMAN: 0.4, "A": 0.4, "B": 0.2}
_SUM_TOLERANCE = 1e-6


class PromptMix(Mapping[str, float]):
    """A point on the simplex, source to share.

    Searching mixes never captions again: a mix only weighs texts that exist. The mapping cannot be changed. It is in a
    fixed order (human, the prompts of [CEO25], the user's own by name) and without sources of share 0, so that two
    mixes of the same shares are equal, hash alike and draw alike however they were written.

    Args:
        shares: probability of each source, `human` or the id of a prompt.

    Raises:
        ValueError: a probability is negative or not finite, or they do not sum to 1.

    Source:
        docs/method.md 3.

    >>> PromptMix({"B": 0.5, "human": 0.5, "A": 0})
    PromptMix({'human': 0.5, 'B': 0.5})
    """

    __slots__ = ("_shares",)

    def __init__(self, shares: Mapping[str, float] = _DEFAULT) -> None:
        for source, share in shares.items():
            require(math.isfinite(share) and share >= 0, f"mix.{source} must be between 0 and 1, got {share}")
        total = math.fsum(shares.values())
        shown = ", ".join(f"{source} = {share:g}" for source, share in shares.items())
        require(
            abs(total - 1) <= _SUM_TOLERANCE,
            f"the probabilities of mix must sum to 1, got {total:.6g} ({shown}): divide each by {total:.6g}"
            if total > 0
            else f"the probabilities of mix must sum to 1, got 0 ({shown}): give one source a positive probability",
        )
        self._shares = {source: float(shares[source]) for source in sorted(shares, key=_place) if shares[source] > 0}

    def __getitem__(self, source: str) -> float:
        return self._shares[source]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shares)

    def __len__(self) -> int:
        return len(self._shares)

    def __hash__(self) -> int:
        return hash(tuple(self._shares.items()))

    def __repr__(self) -> str:
        return f"PromptMix({self._shares})"

    def sources(self) -> tuple[str, ...]:
        """The sources of positive probability, in the fixed order."""
        return tuple(self._shares)

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> str:
        """Pick the source of one text among those that a clip has.

        Args:
            rng: the generator; exactly one number is drawn from it, whatever is available.
            available: sources of which the clip has a text (`human`, `A`, ...), in any order.

        Returns:
            A source of the mix, the probabilities renormalised over those available; `human` if none is.

        >>> PromptMix({"A": 1.0}).draw(np.random.default_rng(0), ["human", "A"])
        'A'
        """
        point = rng.random()
        candidates = [source for source in self._shares if source in available]
        if not candidates:
            return HUMAN
        bounds = np.cumsum([self._shares[source] for source in candidates])
        # rounding may put the point on the last bound itself
        index = min(int(np.searchsorted(bounds, point * bounds[-1], side="right")), len(candidates) - 1)
        return candidates[index]


def _place(source: str) -> tuple[bool, bool, str]:
    """Sorts human first, then the prompts of [CEO25], then the user's own."""
    return source != HUMAN, source not in PROMPTS, source

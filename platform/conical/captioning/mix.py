"""The prompt mix: with which probability a training step takes the human caption or a supplement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from conical.core.options import Options, require

HUMAN = "human"
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class PromptMix(Options):
    """A point on the simplex. Searching mixes never captions again: a mix only weighs texts that exist.

    Args:
        human: probability of a human caption, in [0, 1].
        A: probability of a supplement of prompt A.
        B: probability of a supplement of prompt B.
        C: probability of a supplement of prompt C.
        extra: probabilities of the user's own prompts, by id.

    Raises:
        ValueError: a probability is negative or not finite, or they do not sum to 1.

    Source:
        docs/method.md 3; the talk finds A and B to help and C less.
    """

    human: float = 0.4
    A: float = 0.4
    B: float = 0.2
    C: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for prompt_id in self.extra:
            require(
                prompt_id not in (HUMAN, "A", "B", "C"),
                f"mix.extra must not repeat {prompt_id!r}: set mix.{prompt_id} itself",
            )
        for source, weight in self.weights().items():
            require(math.isfinite(weight) and weight >= 0, f"mix.{source} must be between 0 and 1, got {weight}")
        total = math.fsum(self.weights().values())
        shown = ", ".join(f"{source} = {weight:g}" for source, weight in self.weights().items())
        require(
            abs(total - 1) <= _SUM_TOLERANCE,
            f"the probabilities of mix must sum to 1, got {total:.6g} ({shown}): divide each by {total:.6g}"
            if total > 0
            else f"the probabilities of mix must sum to 1, got 0 ({shown}): give one source a positive probability",
        )

    def weights(self) -> dict[str, float]:
        """Probability of each source, in a fixed order."""
        own = {HUMAN: self.human, "A": self.A, "B": self.B, "C": self.C}
        return own | {source: self.extra[source] for source in sorted(self.extra)}

    def sources(self) -> tuple[str, ...]:
        """The sources of positive probability."""
        return tuple(source for source, weight in self.weights().items() if weight > 0)

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> str:
        """Pick the source of one text among those that a clip has.

        Args:
            rng: the generator; exactly one number is drawn from it, whatever is available.
            available: sources of which the clip has a text (`human`, `A`, ...), in any order.

        Returns:
            A source of positive probability, the probabilities renormalised over those available; `human` if none is.

        >>> PromptMix(human=0, A=1, B=0).draw(np.random.default_rng(0), ["human", "A"])
        'A'
        """
        point = rng.random()
        candidates = [
            (source, weight) for source, weight in self.weights().items() if weight > 0 and source in available
        ]
        if not candidates:
            return HUMAN
        bounds = np.cumsum([weight for _, weight in candidates])
        # rounding may put the point on the last bound itself
        index = min(int(np.searchsorted(bounds, point * bounds[-1], side="right")), len(candidates) - 1)
        return candidates[index][0]

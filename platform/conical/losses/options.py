"""What of a loss can be configured."""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.options import Options, require, require_choice
from conical.losses.table import LossCard, loss_card

# whether the positive stands in the denominator (`all`, InfoNCE) or not (`negatives`, the decoupled form)
DENOMINATORS = ("negatives", "all")
MIN_SCALE = 1.0
MAX_SCALE = 100.0


@dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """Which loss, and its scales and weights; a loss reads those of its own terms only.

    Args:
        name: `ceo`, `info_nce`, or `package.module:CARD` of a loss from outside.
        tau_tv: scale of text to video, in [1, 100]; it multiplies the cosines. [CEO25] names no values; at 20 two
            cosines 0.1 apart differ by a factor of 7. On the demo's val 20 was no worse than 50 (docs/log.md).
        tau_ta: scale of text to the transformed copy, in [1, 100].
        tau_va: scale of video to the transformed copy, in [1, 100].
        w_tv: weight of text to video, >= 0.
        w_ta: weight of text to copy, >= 0.
        w_va: weight of video to copy, >= 0.
        denominator: `"negatives"` ([CEO25]) or `"all"` (ordinary InfoNCE, the default of `info_nce`).
        symmetric: average both directions of each term; the default of `info_nce`.
        is_learnable: the scales are trained, starting at the values above.

    Raises:
        ValueError: a value is out of range.
    """

    name: str = "ceo"
    tau_tv: float = 20.0
    tau_ta: float = 20.0
    tau_va: float = 20.0
    w_tv: float = 1.0
    w_ta: float = 1.0
    w_va: float = 1.0
    denominator: str = "negatives"
    symmetric: bool = False
    is_learnable: bool = False

    def __post_init__(self) -> None:
        terms = self.card.terms
        require_choice("denominator", self.denominator, DENOMINATORS)
        for name in ("tau_tv", "tau_ta", "tau_va"):
            scale = getattr(self, name)
            require(MIN_SCALE <= scale <= MAX_SCALE, f"{name} must be in [{MIN_SCALE:g}, {MAX_SCALE:g}], got {scale}")
        check_weights(self.w_tv, self.w_ta, self.w_va)
        named = " or ".join(f"w_{term}" for term in terms)
        require(
            any(getattr(self, f"w_{term}") > 0 for term in terms),
            f"{named} must be > 0 for {self.name}, which has no other term; got 0",
        )

    @property
    def card(self) -> LossCard:
        """The card that `name` leads to."""
        return loss_card(self.name)


def check_weights(w_tv: float, w_ta: float, w_va: float) -> None:
    """Refuse weights below zero and weights that are all zero.

    Raises:
        ValueError: as said.
    """
    for name, weight in (("w_tv", w_tv), ("w_ta", w_ta), ("w_va", w_va)):
        require(0 <= weight < float("inf"), f"{name} must be a finite number >= 0, got {weight}")
    require(w_tv + w_ta + w_va > 0, "w_tv, w_ta and w_va are all 0: nothing would be trained; set at least one above 0")

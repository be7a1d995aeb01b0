"""What of a loss can be configured."""

from __future__ import annotations

from dataclasses import dataclass, field

from conical.core.options import Options, require, require_choice
from conical.losses.table import EXTRAS, ExtraCard, LossCard, loss_card

# whether the positive stands in the denominator (`all`, InfoNCE) or not (`negatives`, the decoupled form)
DENOMINATORS = ("negatives", "all")
MIN_SCALE = 1.0
MAX_SCALE = 100.0


@dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """Which loss, and its scales and weights; a loss reads those of its own terms only.

    Args:
        name: a row of `conical list losses`, or `package.module:CARD` of a loss from outside.
        tau_tv: scale of text to video, in [1, 100]; it multiplies the cosines. [CEO25] names no values; at 20 two
            cosines 0.1 apart differ by a factor of 7. On the demo's val 20 was no worse than 50 (docs/log.md).
        tau_ta: scale of text to the transformed copy, in [1, 100].
        tau_va: scale of video to the transformed copy, in [1, 100].
        w_tv: weight of text to video, >= 0.
        w_ta: weight of text to copy, >= 0.
        w_va: weight of video to copy, >= 0.
        denominator: `"negatives"` ([CEO25]) or `"all"` (ordinary InfoNCE, the default of `info_nce`).
        symmetric: average both directions of each term; the default of `info_nce`.
        is_learnable: the scales are trained, starting at the values above; the bias, too.
        bias: added to the scaled scores by `sigmoid`; SigLIP starts at -10.
        hard_margin: how near to the positive a negative must come to be a hard one of `dmae`, in [0, 2].
        w_hard: weight of the hard negatives of `dmae`, >= 0.
        extra: weights of terms that are added: `decorrelation`, `partial_order`, `coarse_distillation`,
            `fine_distillation`; each > 0.
        teacher: the run that distillation learns from: its key or label, or EXPERIMENT/NAME.

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
    bias: float = -10.0
    hard_margin: float = 0.0
    w_hard: float = 0.5
    extra: dict[str, float] = field(default_factory=dict)
    teacher: str = ""

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
        require(0 <= self.hard_margin <= 2, f"hard_margin must be in [0, 2], got {self.hard_margin}")
        require(0 <= self.w_hard < float("inf"), f"w_hard must be >= 0, got {self.w_hard}")
        for name, weight in self.extra.items():
            require_choice("extra", name, EXTRAS)
            require(0 < weight < float("inf"), f"extra.{name} must be > 0, got {weight}")
        taught = [card.name for card in self.extra_cards if card.needs_teacher]
        require(
            bool(self.teacher) == bool(taught),
            f"teacher must name a run for {taught[0]}, got none"
            if taught
            else f"teacher {self.teacher!r} teaches nothing: set the weight of a distillation in extra",
        )

    @property
    def card(self) -> LossCard:
        """The card that `name` leads to."""
        return loss_card(self.name)

    @property
    def extra_cards(self) -> tuple[ExtraCard, ...]:
        """Cards of the terms that are added."""
        return tuple(EXTRAS[name] for name in self.extra)


def check_weights(w_tv: float, w_ta: float, w_va: float) -> None:
    """Refuse weights below zero and weights that are all zero.

    Raises:
        ValueError: as said.
    """
    for name, weight in (("w_tv", w_tv), ("w_ta", w_ta), ("w_va", w_va)):
        require(0 <= weight < float("inf"), f"{name} must be a finite number >= 0, got {weight}")
    require(w_tv + w_ta + w_va > 0, "w_tv, w_ta and w_va are all 0: nothing would be trained; set at least one above 0")

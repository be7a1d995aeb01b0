"""The losses by name; imports no torch, so that settings, titles and lists need none.

A loss is a card: what it is, which terms it has, and a function with one calling convention for all:

    call(comparison, *, taus, bias, options) -> {"loss": ..., ...}

    comparison   the global batch, every pair compared (`conical.losses.compared.Comparison`)
    taus         term to its scale, for the card's terms: `{"tv": 20.0}`; a learnt scale is a scalar tensor
    bias         what is added to the scaled scores, for cards with `has_bias`; a learnt one is a scalar tensor
    options      the `[loss]` table: weights, denominator, symmetric and the like

It returns scalar tensors by name: `loss` is differentiated, all are logged.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from conical.core.options import require, require_choice
from conical.core.registry import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from conical.losses.compared import Comparison
    from conical.losses.options import LossOptions

# pairs of embeddings that a loss may compare: text-video, text-copy, video-copy
TERMS = ("tv", "ta", "va")


class LossFunction(Protocol):
    """The calling convention of this module's head."""

    def __call__(
        self,
        comparison: Comparison,
        *,
        taus: Mapping[str, float | Tensor],
        bias: float | Tensor,
        options: LossOptions,
    ) -> dict[str, Tensor]:
        """Loss terms by name; `loss` is the one to differentiate."""


@dataclass(frozen=True, kw_only=True)
class LossCard:
    """One loss of the table.

    Args:
        name: what `loss.name` says.
        title: what tables call it.
        summary: what it does, one line.
        source: where it is published.
        terms: the pairs it compares, of `TERMS`; with `ta` or `va` each batch carries transformed copies.
        call: the function, or `package.module:function`, which keeps torch out until it is called.
        defaults: settings of `[loss]` that are others than `LossOptions` says, where a user sets none.
        is_baseline: reports compare every other method with it.
        has_bias: it adds `loss.bias` to the scaled scores.

    Raises:
        ValueError: there is no term, or one that does not exist.
    """

    name: str
    title: str
    summary: str
    source: str
    terms: tuple[str, ...]
    call: str | LossFunction
    defaults: Mapping[str, Any] = field(default_factory=dict)
    is_baseline: bool = False
    has_bias: bool = False

    def __post_init__(self) -> None:
        require(bool(self.terms), f"terms of loss {self.name!r} must name at least one of {', '.join(TERMS)}, got none")
        for term in self.terms:
            require_choice(f"terms of loss {self.name!r}", term, TERMS)

    @property
    def needs_copies(self) -> bool:
        """Whether it compares with transformed copies of the clips."""
        return bool({"ta", "va"} & set(self.terms))

    @property
    def function(self) -> LossFunction:
        """The function itself, imported where the card holds its name."""
        if not isinstance(self.call, str):
            return self.call
        module, _, name = self.call.partition(":")
        return cast(LossFunction, getattr(importlib.import_module(module), name))


LOSSES: dict[str, LossCard] = {
    "ceo": LossCard(
        name="ceo",
        title="CEO",
        summary="caption, video and a transformed copy of the video attract one another",
        source="[CEO25], Yang, Chen, Yao, ECAI 2025",
        terms=("tv", "ta", "va"),
        call="conical.losses.ceo:ceo_terms",
    ),
    "info_nce": LossCard(
        name="info_nce",
        title="InfoNCE",
        summary="caption and video attract each other, as CLIP is trained",
        source="van den Oord et al. 2018, eq. 4; Radford et al. 2021",
        terms=("tv",),
        call="conical.losses.infonce:info_nce_terms",
        defaults={"denominator": "all", "symmetric": True},
        is_baseline=True,
    ),
    "sigmoid": LossCard(
        name="sigmoid",
        title="Sigmoid",
        summary="each pair is a question of its own: do text and video belong together",
        source="Zhai et al. 2023 (SigLIP), section 3.2",
        terms=("tv",),
        call="conical.losses.sigmoid:sigmoid_terms",
        defaults={"tau_tv": 10.0},
        has_bias=True,
    ),
    "dmae": LossCard(
        name="dmae",
        title="NegNCE",
        summary="InfoNCE, and a penalty on negatives that come near the positive",
        source="Jiang et al. 2023 (DMAE), NegNCE",
        terms=("tv",),
        call="conical.losses.hard_negatives:neg_nce_terms",
        defaults={"denominator": "all", "symmetric": True},
    ),
}


@dataclass(frozen=True, kw_only=True)
class ExtraCard:
    """A term that is added to a loss with a weight of its own (`loss.extra`).

    Args:
        name: what `loss.extra` says.
        summary: what it does, one line.
        source: where it is published.
        call: `package.module:function` of a `Comparison` to a scalar.
        needs_teacher: it compares with the model that `loss.teacher` names.
        needs_weakened: it compares each pair with the same pair whose text lost its weightiest words.
    """

    name: str
    summary: str
    source: str
    call: str
    needs_teacher: bool = False
    needs_weakened: bool = False

    @property
    def function(self) -> Callable[[Comparison], Tensor]:
        """The function itself."""
        module, _, name = self.call.partition(":")
        return cast("Callable[[Comparison], Tensor]", getattr(importlib.import_module(module), name))


EXTRAS: dict[str, ExtraCard] = {
    "decorrelation": ExtraCard(
        name="decorrelation",
        summary="channels of texts and videos say the same each, and only that; head token_wise",
        source="Wang et al. 2022 (DRL), channel decorrelation regularization; published weight 0.001",
        call="conical.losses.decorrelation:channel_decorrelation",
    ),
    "partial_order": ExtraCard(
        name="partial_order",
        summary="a pair scores a margin above the same pair without the weightiest words; heads that read words",
        source="Jiang et al. 2023 (DMAE), triplet partial margin, of the text",
        call="conical.losses.hard_negatives:partial_order",
        needs_weakened=True,
    ),
    "coarse_distillation": ExtraCard(
        name="coarse_distillation",
        summary="the batch is ranked as the teacher ranks it",
        source="Tian et al. 2024 (TeachCLIP), Pearson distance",
        call="conical.losses.distillation:coarse_distillation",
        needs_teacher=True,
    ),
    "fine_distillation": ExtraCard(
        name="fine_distillation",
        summary="frames weigh what they say to the teacher; head frame_weights, a teacher with frames",
        source="Tian et al. 2024 (TeachCLIP), frame weights",
        call="conical.losses.distillation:fine_distillation",
        needs_teacher=True,
    ),
}


def loss_card(name: str) -> LossCard:
    """The card called `name`, or the one at `package.module:CARD`.

    Raises:
        ValueError: no such card, the path leads nowhere or to something else.
    """
    if ":" not in name:
        require_choice("name", name, LOSSES)
    card = resolve("loss", name, LOSSES)
    require(
        isinstance(card, LossCard),
        f"name {name!r} must lead to a LossCard, got {type(card).__name__}: see docs/adding_a_loss.md",
    )
    return cast(LossCard, card)

"""The heads by name; imports no torch, so that settings and lists need none.

A head is a card: what it is, and a function that builds its module from the width of the embeddings. The module maps

    (clip, frame, dim) float32 frame embeddings of length 1  ->  (clip, dim) clip embeddings of length 1
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from conical.core.errors import ConfigError
from conical.core.options import require, require_choice
from conical.core.registry import resolve

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class HeadCard:
    """One head of the table.

    Args:
        name: what `model.head` says.
        summary: what it does, one line.
        source: where it is published.
        build: makes the module from the embedding width, or `package.module:Name` of what does, which keeps torch out
            until then.
        is_indexable: whether a clip has one vector, whatever the query; training and scoring need that.
    """

    name: str
    summary: str
    source: str
    build: str | Callable[[int], nn.Module]
    is_indexable: bool = True


HEADS: dict[str, HeadCard] = {
    "mean_pool": HeadCard(
        name="mean_pool",
        summary="the mean of the frame embeddings; no parameters",
        source="Luo et al. 2022 (CLIP4Clip), section 3.3",
        build="conical.models.heads.mean_pool:MeanPool",
    ),
}


def head_card(name: str) -> HeadCard:
    """The card called `name`, or the one at `package.module:CARD`.

    Raises:
        ValueError: no such card, the path leads nowhere or to something else, or the head gives no vector of a clip.
    """
    if ":" not in name:
        require_choice("head", name, HEADS)
    card = resolve("head", name, HEADS)
    require(
        isinstance(card, HeadCard),
        f"head {name!r} must lead to a HeadCard, got {type(card).__name__}: see docs/adding_a_head.md",
    )
    require(
        card.is_indexable,
        f"head {name!r} has no single vector per clip, which training and scoring need: choose one that has",
    )
    return cast(HeadCard, card)


def build_head(name: str, *, width: int) -> nn.Module:
    """The module of a head, tried once on two frames.

    Args:
        name: as in `model.head`.

    Raises:
        ConfigError: it does not give embeddings of that width and of length 1.
        ValueError: no such head.
    """
    import torch

    build = head_card(name).build
    if isinstance(build, str):
        module, _, attribute = build.partition(":")
        build = cast("Callable[[int], nn.Module]", getattr(importlib.import_module(module), attribute))
    head = build(width).eval()
    frames = torch.nn.functional.normalize(torch.arange(1.0, 2 * width + 1).view(1, 2, width), dim=-1)
    with torch.no_grad():
        clip = head(frames)
    if clip.shape != (1, width) or abs(float(clip.float().norm()) - 1) > 1e-3:
        raise ConfigError(
            f"head {name!r} must give embeddings of shape (clip, {width}) and length 1, got shape {tuple(clip.shape)} "
            f"and length {float(clip.float().norm()):.4g}: normalise its output"
        )
    return head.train()

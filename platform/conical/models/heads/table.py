"""The heads by name; imports no torch, so that settings and lists need none.

A head is a card: what it is, and what builds its module (`conical.models.heads.head.Head`) from the width of the
embeddings and its settings.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from conical.core.errors import ConfigError
from conical.core.options import did_you_mean, require, require_choice
from conical.core.registry import resolve

if TYPE_CHECKING:
    from conical.models.heads.head import Head

Setting: TypeAlias = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class HeadCard:
    """One head of the table.

    Args:
        name: what `model.head` says.
        summary: what it does, one line.
        source: where it is published.
        build: makes the module from the embedding width and the settings, or `package.module:Name` of what does, which
            keeps torch out until then.
        settings: names and defaults of what `[model.head_settings]` may set.
        is_indexable: whether a clip is one vector, whatever the query, so that an index can hold it.
    """

    name: str
    summary: str
    source: str
    build: str | Callable[..., Head]
    settings: Mapping[str, Setting] = field(default_factory=dict)
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
        ValueError: no such card, or the path leads nowhere or to something else.
    """
    if ":" not in name:
        require_choice("head", name, HEADS)
    card = resolve("head", name, HEADS)
    require(
        isinstance(card, HeadCard),
        f"head {name!r} must lead to a HeadCard, got {type(card).__name__}: see docs/adding_a_head.md",
    )
    return cast(HeadCard, card)


def check_settings(card: HeadCard, settings: Mapping[str, Setting]) -> None:
    """Refuse settings that the head does not have, or of another kind than its defaults.

    Raises:
        ValueError: as said.
    """
    for key, value in settings.items():
        allowed = ", ".join(card.settings) or "none"
        require(
            key in card.settings,
            f"head_settings.{key} is no setting of head {card.name!r}, which has {allowed}."
            f"{did_you_mean(key, list(card.settings))}",
        )
        default = card.settings[key]
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        is_kind = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
        require(is_kind, f"head_settings.{key} must be {type(default).__name__} such as {default!r}, got {value!r}")


def build_head(name: str, *, width: int, settings: Mapping[str, Setting] | None = None) -> Head:
    """The module of a head, tried once on a text and a clip.

    Args:
        name: as in `model.head`.
        width: of the embeddings it is given.
        settings: those that differ from the card's.

    Raises:
        ConfigError: it is no head, or does not give scores in [-1, 1] and vectors of length 1.
        ValueError: no such head or setting.
    """
    from conical.models.heads.head import Head

    card = head_card(name)
    check_settings(card, settings or {})
    build = card.build
    if isinstance(build, str):
        module, _, attribute = build.partition(":")
        build = cast("Callable[..., Head]", getattr(importlib.import_module(module), attribute))
    head = build(width, **{**card.settings, **(settings or {})})
    if not isinstance(head, Head):
        raise ConfigError(
            f"head {name!r} must build a Head, got {type(head).__name__}: derive it from PoolingHead, see "
            "docs/adding_a_head.md"
        )
    _try(head, name, width)
    return head.train()


def _try(head: Head, name: str, width: int) -> None:
    import torch
    import torch.nn.functional as F  # noqa: N812  the field's usual name

    from conical.models.heads.head import Clips, Texts

    def some(*shape: int) -> Any:
        return F.normalize(torch.arange(1.0, 1 + torch.Size(shape).numel()).view(*shape).sin(), dim=-1)

    clips = Clips(
        frames=some(2, 2, width),
        patches=some(2, 2, 4, width) if head.needs_patches else None,
        captions=some(2, 1, width) if head.needs_captions else None,
        has_caption=torch.ones(2, 1, dtype=torch.bool) if head.needs_captions else None,
    )
    texts = Texts(
        sentence=some(3, width),
        words=some(3, 2, width) if head.needs_words else None,
        is_word=torch.ones(3, 2, dtype=torch.bool) if head.needs_words else None,
    )
    with torch.no_grad():
        head.eval()
        encoded = head.encode_clips(clips)
        vectors = head.vectors(encoded)
        if vectors.ndim != 2 or len(vectors) != 2 or not torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-3):
            raise ConfigError(
                f"head {name!r} must give vectors of shape (clip, dim) and length 1, got shape "
                f"{tuple(vectors.shape)} and length {float(vectors.flatten(1)[0].norm()):.4g}: normalise them"
            )
        scores = head.similarity(head.encode_texts(texts), encoded)
    if scores.shape != (3, 2) or not float(scores.abs().max()) <= 1 + 1e-3:
        raise ConfigError(
            f"head {name!r} must give scores of shape (text, clip) in [-1, 1], got shape {tuple(scores.shape)} and "
            f"{float(scores.abs().max()):.4g}: return cosines or weighted means of them"
        )

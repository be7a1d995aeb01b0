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
        needs_captions: whether it reads the supplements of clips, in training and in `captioned-gallery`.
    """

    name: str
    summary: str
    source: str
    build: str | Callable[..., Head]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    is_indexable: bool = True
    needs_captions: bool = False


# of the transformer over frames, and of the choice of patches in front of it
_TEMPORAL: Mapping[str, Setting] = {"num_layers": 4, "max_frames": 64, "num_heads": 0, "start": "identity"}
_SELECTION: Mapping[str, Setting] = {"top_k": 3, "num_samples": 500, "sigma": 0.05}

HEADS: dict[str, HeadCard] = {
    "mean_pool": HeadCard(
        name="mean_pool",
        summary="the mean of the frame embeddings; no parameters",
        source="Luo et al. 2022 (CLIP4Clip), section 3.3",
        build="conical.models.heads.mean_pool:MeanPool",
    ),
    "seq_transformer": HeadCard(
        name="seq_transformer",
        summary="the mean of frames behind a transformer over time",
        source="Luo et al. 2022 (CLIP4Clip), seqTransf",
        build="conical.models.heads.seq_transformer:SeqTransformer",
        settings=_TEMPORAL,
    ),
    "frame_weights": HeadCard(
        name="frame_weights",
        summary="frames weighted by a small network, which a teacher can teach",
        source="Tian et al. 2024 (TeachCLIP), attentional frame aggregation",
        build="conical.models.heads.frame_weights:FrameWeights",
        settings={"sharpness": 10.0, **_TEMPORAL},
    ),
    "token_shift_select": HeadCard(
        name="token_shift_select",
        summary="the mean of frames that have seen their clip's most telling patches",
        source="Liu et al. 2022 (TS2-Net), with one vector per clip",
        build="conical.models.heads.token_shift_select:TokenShiftSelect",
        settings={**_SELECTION, **_TEMPORAL},
    ),
    "text_weighted_select": HeadCard(
        name="text_weighted_select",
        summary="frames that have seen their clip's most telling patches, weighted by the text",
        source="Liu et al. 2022 (TS2-Net), as its code scores",
        build="conical.models.heads.text_weighted_select:TextWeightedSelect",
        settings={"frame_scale": 4.0, **_SELECTION, **_TEMPORAL},
        is_indexable=False,
    ),
    "token_wise": HeadCard(
        name="token_wise",
        summary="each word with its best frame and each frame with its best word, weighted",
        source="Wang et al. 2022 (DRL), weighted token-wise interaction",
        build="conical.models.heads.token_wise:TokenWise",
        settings={"weight_layers": 2, **_TEMPORAL},
        is_indexable=False,
    ),
    "multi_grained": HeadCard(
        name="multi_grained",
        summary="the mean of video-sentence, video-word, sentence-frame and frame-word similarity",
        source="Ma et al. 2022 (X-CLIP), attention over the similarity matrix",
        build="conical.models.heads.multi_grained:MultiGrained",
        settings={"temperature": 0.01, **_TEMPORAL},
        is_indexable=False,
    ),
    "text_conditioned_pool": HeadCard(
        name="text_conditioned_pool",
        summary="frames pooled by the attention that each text pays them",
        source="Gorti et al. 2022 (X-Pool)",
        build="conical.models.heads.text_conditioned_pool:TextConditionedPool",
        settings={"dropout": 0.3},
        is_indexable=False,
    ),
    "caption_fusion": HeadCard(
        name="caption_fusion",
        summary="the score of the frames mixed with that of the clip's best supplement",
        source="Wu et al. 2023 (Cap4Video), query-video and query-caption scores",
        build="conical.models.heads.caption_fusion:CaptionFusion",
        settings={"init_weight": 0.27, "selection": "max", "scale": 20.0},
        is_indexable=False,
        needs_captions=True,
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
    if head.needs_captions != card.needs_captions:
        raise ConfigError(f"head {name!r} must say needs_captions = {head.needs_captions} on its card, too")
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
        patches=some(2, 2, 64, width) if head.needs_patches else None,
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

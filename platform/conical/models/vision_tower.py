"""The image towers of open_clip: an embedding of each frame, and of each patch where a head asks for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conical.core.errors import ConfigError


def give_patches(clip: Any, *, head: str) -> None:
    """Let the image tower give its patches beside the frame.

    Raises:
        ConfigError: it is no ViT of open_clip's that pools a class token behind its last norm.
    """
    visual = clip.visual
    is_plain = getattr(visual, "attn_pool", 0) is None and not getattr(visual, "final_ln_after_pool", True)
    if not is_plain or getattr(visual, "pool_type", "") != "tok":
        raise ConfigError(
            f"head {head!r} needs an embedding of each patch, which a {type(visual).__name__} does not give: choose a "
            "ViT of open_clip's with a class token, such as ViT-B-32"
        )
    visual.output_tokens = True


def encode_frames(clip: Any, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
    """(N, D) embeddings of images, not normalised, and (N, P, D) of their patches if the tower gives them.

    Patches take the way of the class token: the last norm, then the projection.
    """
    out = clip.encode_image(pixels)
    if not isinstance(out, tuple):
        return wide(out), None
    pooled, tokens = out
    projection = clip.visual.proj
    return wide(pooled), wide(tokens if projection is None else tokens @ projection)


def wide(x: Tensor) -> Tensor:
    """In float32, or wider if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

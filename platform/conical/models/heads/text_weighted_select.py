"""TS2-Net as its code scores: the frames of `TokenShiftSelect`, each weighted by how well it fits the text.

Shapes: T texts, V clips, F frames per clip, D width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips, Features
from conical.models.heads.token_shift_select import TokenShiftSelect

if TYPE_CHECKING:
    from jaxtyping import Float


class TextWeightedSelect(TokenShiftSelect):
    """Weighted mean of the text's cosines with the frames that `TokenShiftSelect` gives.

    With t a text and y_1 .. y_F the frames, of unit length, and c_f = t . y_f:

        s = sum_f a_f c_f,  a = softmax(k c / |c|),  |c| = sqrt(c_1^2 + ... + c_F^2)

    Args:
        width: of the embeddings.
        frame_scale: k >= 0; 0 weighs all frames alike.
        top_k: as the other settings, see `TokenShiftSelect`.

    Raises:
        ConfigError: a setting is out of range.

    Source: the released code of TS2-Net (Liu et al. 2022), whose k is 4.
    """

    def __init__(
        self,
        width: int,
        *,
        frame_scale: float = 4.0,
        top_k: int = 3,
        num_samples: int = 500,
        sigma: float = 0.05,
        num_layers: int = 4,
        max_frames: int = 64,
        num_heads: int = 0,
        start: str = "identity",
    ) -> None:
        super().__init__(
            width,
            top_k=top_k,
            num_samples=num_samples,
            sigma=sigma,
            num_layers=num_layers,
            max_frames=max_frames,
            num_heads=num_heads,
            start=start,
        )
        if not 0 <= frame_scale < math.inf:
            raise ConfigError(f"frame_scale must be a finite number >= 0, got {frame_scale}")
        self.frame_scale = frame_scale

    def encode_clips(self, clips: Clips) -> Features:
        """`frames` (V, F, D) and their mean, `clip` (V, D), both of unit length.

        Raises:
            ConfigError: as `TokenShiftSelect.encode_clips`.
        """
        frames = self.relate(clips)
        return {"frames": frames, "clip": F.normalize(frames.mean(dim=1), dim=-1)}

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Scores of every pair; holds T x V x F cosines."""
        text, frames = texts["text"], clips["frames"]
        with torch.autocast(device_type=text.device.type, enabled=False):
            cosines: Tensor = torch.einsum("td,vfd->tvf", text, frames)
            weights = (self.frame_scale * F.normalize(cosines, dim=2)).softmax(dim=2)
            return (weights * cosines).sum(dim=2)

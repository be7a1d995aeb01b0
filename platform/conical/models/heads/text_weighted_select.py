"""TS2-Net as its code scores: frames that have seen their clip's most telling patches, weighted by the text.

Shapes: T texts, V clips, F frames per clip, D width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips, Features, Head, Texts
from conical.models.heads.token_selection import TokenSelection

if TYPE_CHECKING:
    from jaxtyping import Float


class TextWeightedSelect(Head):
    """Weighted mean of the text's cosines with the frames that `TokenSelection` gives.

    With t a text and y_1 .. y_F the frames, of unit length, and c_f = t . y_f:

        s = sum_f a_f c_f,  a = softmax(k c / |c|),  |c| = sqrt(c_1^2 + ... + c_F^2)

    Args:
        width: of the embeddings.
        frame_scale: k >= 0; 0 weighs all frames alike.
        top_k: patches chosen of each frame, >= 1; the published 4 counts the class token.
        num_samples: of the perturbed top-k, >= 2.
        sigma: of the perturbed top-k, > 0.
        num_layers: of the transformer over frames and patches, >= 1.
        max_frames: most frames a clip may have; a clip with more is refused.
        num_heads: of its attention, a divisor of `width`; 0 takes width // 64, at least 1.
        start: `identity` or `clip`, see `FrameTransformer`.

    Raises:
        ConfigError: a setting is out of range.

    Source: the released code of TS2-Net (Liu et al. 2022), whose numbers all defaults but
    `max_frames` and `start` are.
    """

    needs_patches = True

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
        super().__init__()
        if not 0 <= frame_scale < math.inf:
            raise ConfigError(f"frame_scale must be a finite number >= 0, got {frame_scale}")
        self.frame_scale = frame_scale
        self.selection = TokenSelection(
            width,
            top_k=top_k,
            num_samples=num_samples,
            sigma=sigma,
            num_layers=num_layers,
            max_frames=max_frames,
            num_heads=num_heads,
            start=start,
        )

    def encode_texts(self, texts: Texts) -> Features:
        """`text`: (T, D), unit length."""
        return {"text": F.normalize(texts.sentence, dim=-1)}

    def encode_clips(self, clips: Clips) -> Features:
        """`frames` (V, F, D) and their mean, `clip` (V, D), all of unit length.

        Raises:
            ConfigError: a clip has more than `max_frames` frames, or a frame fewer than `top_k` patches.
        """
        frames: Tensor = self.selection(clips)
        return {"frames": frames, "clip": F.normalize(frames.mean(dim=1), dim=-1)}

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Scores of every pair; holds T x V x F cosines."""
        text, frames = texts["text"], clips["frames"]
        with torch.autocast(device_type=text.device.type, enabled=False):
            cosines: Tensor = torch.einsum("td,vfd->tvf", text, frames)
            weights = (self.frame_scale * F.normalize(cosines, dim=2)).softmax(dim=2)
            return (weights * cosines).sum(dim=2)

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """The mean of the frames."""
        return clips["clip"]

"""The mean of frames that have seen their clip's most telling patches: TS2-Net with one vector per clip."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  the field's usual name

from conical.models.heads.head import Clips, Features, PoolingHead
from conical.models.heads.token_selection import TokenSelection


class TokenShiftSelect(PoolingHead):
    """Normalised mean of the unit-length frames y_1 .. y_F that `TokenSelection` gives:

        v = m / |m|,  m = (y_1 + ... + y_F) / F

    The other half of TS2-Net, the shift of tokens between frames, is in the image tower
    (`conical.models.token_shift`). Its code does not take the mean: it weighs frames by the text, as
    `TextWeightedSelect` does.

    Args:
        width: of the embeddings.
        top_k: patches chosen of each frame, >= 1; the published 4 counts the class token.
        num_samples: of the perturbed top-k, >= 2.
        sigma: of the perturbed top-k, > 0.
        num_layers: of the transformer over frames and patches, >= 1.
        max_frames: most frames a clip may have; a clip with more is refused.
        num_heads: of its attention, a divisor of `width`; 0 takes width // 64, at least 1.
        start: `identity` (at the start this head equals the mean of frames) or `clip`, see `FrameTransformer`.

    Raises:
        ConfigError: a setting is out of range.

    Source: Liu et al. 2022, "TS2-Net: Token Shift and Selection Transformer for Text-Video Retrieval"; all
    defaults but `max_frames` and `start` are those of its code.
    """

    needs_patches = True

    def __init__(
        self,
        width: int,
        *,
        top_k: int = 3,
        num_samples: int = 500,
        sigma: float = 0.05,
        num_layers: int = 4,
        max_frames: int = 64,
        num_heads: int = 0,
        start: str = "identity",
    ) -> None:
        super().__init__()
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

    def encode_clips(self, clips: Clips) -> Features:
        """`clip`: (V, D), unit length.

        Raises:
            ConfigError: a clip has more than `max_frames` frames, or a frame fewer than `top_k` patches.
        """
        return {"clip": F.normalize(self.selection(clips).mean(dim=1), dim=-1)}

"""The patches that tell most of each frame, put in relation across all frames: the token selection of TS2-Net.

Shapes: V clips, F frames per clip, P patches per frame, K patches chosen of a frame, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.losses.contrastive import cosine_similarity
from conical.models.heads.frame_transformer import FrameTransformer
from conical.models.heads.head import Clips, Features, Head, Texts
from conical.models.heads.perturbed_top_k import perturbed_top_k

if TYPE_CHECKING:
    from jaxtyping import Float


class TokenShiftSelect(Head):
    """Mean of the frames behind a transformer that sees each frame with K of its patches.

    With f a frame's embedding (that of its class token) and x_1 .. x_P those of its patches, a small network scores the
    patches by themselves and the frame, and `perturbed_top_k` chooses:

        g(x) = GELU(W LayerNorm(x));  s_p = tanh(w . GELU(W' [g(x_p), g(f)]))
        (c_1, .., c_K) = C x,  C = perturbed top-K of s

    All F (1 + K) tokens (f, c_1, .., c_K) of a clip go through `FrameTransformer` together, which gives each token a
    position of its own. With y_1 .. y_F what it makes of the frames' own tokens:

        v = m / |m|,  m = (y_1 / |y_1| + ... + y_F / |y_F|) / F

    The other half of TS2-Net, the shift of tokens between frames, is in the image tower (`TokenShift`).

    Args:
        width: of the embeddings.
        top_k: K, patches chosen of each frame, >= 1; the published K of 4 counts the class token.
        num_samples: of the perturbed top-k, >= 2.
        sigma: of the perturbed top-k, > 0.
        num_layers: of the transformer, >= 1.
        max_frames: most frames a clip may have; a clip with more is refused.
        num_heads: of the attention, a divisor of `width`; 0 takes width // 64, at least 1.
        start: `identity` (at the start this head equals the mean of frames) or `clip`, see `FrameTransformer`.

    Raises:
        ConfigError: a setting is out of range.

    Source: Liu et al. 2022, "TS2-Net: Token Shift and Selection Transformer for Text-Video Retrieval", token selection
    module; the numbers are those of its code.
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
        for name, value, least in (("top_k", top_k, 1), ("num_samples", num_samples, 2), ("max_frames", max_frames, 1)):
            if value < least:
                raise ConfigError(f"{name} must be >= {least}, got {value}")
        if not 0 < sigma < float("inf"):
            raise ConfigError(f"sigma must be a finite number > 0, got {sigma}")
        self.top_k, self.num_samples, self.sigma, self.max_frames = top_k, num_samples, sigma, max_frames
        self.scorer = PatchScorer(width)
        self.joint = FrameTransformer(
            width, num_layers=num_layers, max_frames=max_frames * (1 + top_k), num_heads=num_heads, start=start
        )

    def encode_texts(self, texts: Texts) -> Features:
        """`text`: (T, D), unit length."""
        return {"text": F.normalize(texts.sentence, dim=-1)}

    def encode_clips(self, clips: Clips) -> Features:
        """`clip`: (V, D), unit length.

        Raises:
            ConfigError: a clip has more than `max_frames` frames, or a frame fewer than `top_k` patches.
        """
        return {"clip": F.normalize(self.relate(clips).mean(dim=1), dim=-1)}

    def relate(self, clips: Clips) -> Float[Tensor, "clip frame dim"]:
        """y_1 .. y_F of each clip, brought to unit length.

        Raises:
            ConfigError: as `encode_clips`.
        """
        frames, patches = clips.frames, clips.patches
        assert patches is not None
        num_frames, num_patches = patches.shape[1:3]
        if num_frames > self.max_frames:
            raise ConfigError(f"clips of {num_frames} frames need max_frames >= {num_frames}, got {self.max_frames}")
        if num_patches < self.top_k:
            raise ConfigError(f"top_k must be at most {num_patches}, the patches of a frame, got {self.top_k}")
        with torch.autocast(device_type=frames.device.type, enabled=False):
            scores = self.scorer(frames, patches).flatten(0, 1)
            chosen = perturbed_top_k(scores, self.top_k, num_samples=self.num_samples, sigma=self.sigma)
            picked = (chosen @ patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
            tokens = torch.cat([frames[:, :, None], picked], dim=2)
            related: Tensor = self.joint(tokens.flatten(1, 2)).unflatten(1, (num_frames, 1 + self.top_k))
            return F.normalize(related[:, :, 0], dim=-1)

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Cosines."""
        return cosine_similarity(texts["text"], clips["clip"])

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """The pooled vectors."""
        return clips["clip"]


class PatchScorer(nn.Module):
    """How much each patch tells of its frame, in (-1, 1), seen by itself and beside the frame.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = max(1, width // 2)
        self.narrow = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, half, bias=False), nn.GELU())
        self.judge = nn.Sequential(
            nn.Linear(2 * half, half, bias=False), nn.GELU(), nn.Linear(half, 1, bias=False), nn.Tanh()
        )
        for layer in (*self.narrow, *self.judge):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)  # as in the published code

    def forward(
        self, frames: Float[Tensor, "clip frame dim"], patches: Float[Tensor, "clip frame patch dim"]
    ) -> Float[Tensor, "clip frame patch"]:
        """(V, F, D) and (V, F, P, D) to (V, F, P)."""
        local, frame = self.narrow(patches), self.narrow(frames)
        whole = frame[:, :, None].expand(*local.shape[:3], -1)
        judged: Tensor = self.judge(torch.cat([local, whole], dim=-1))
        return judged[..., 0]

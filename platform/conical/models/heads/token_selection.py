"""The patches that tell most of each frame, put in relation across all frames: the token selection of TS2-Net.

Shapes: V clips, F frames per clip, P patches per frame, K patches chosen of a frame, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models.heads.frame_transformer import FrameTransformer
from conical.models.heads.head import Clips
from conical.models.heads.perturbed_top_k import perturbed_top_k

if TYPE_CHECKING:
    from jaxtyping import Float


class TokenSelection(nn.Module):
    """Frames behind a transformer that sees each frame of a clip with K of its patches.

    With f a frame's embedding (that of its class token) and x_1 .. x_P those of its patches, a small network scores the
    patches by themselves and the frame, and `perturbed_top_k` chooses:

        g(x) = GELU(W LayerNorm(x));  s_p = tanh(w . GELU(W' [g(x_p), g(f)]))
        (c_1, .., c_K) = C x,  C = perturbed top-K of s

    All F (1 + K) tokens (f, c_1, .., c_K) of a clip go through `FrameTransformer` together, which gives each token a
    position of its own. What it makes of the frames' own tokens, y_1 .. y_F, stays.

    Args:
        width: D.
        top_k: K >= 1.
        num_samples: of the perturbed top-k, >= 2.
        sigma: of the perturbed top-k, > 0.
        num_layers: of the transformer, >= 1.
        max_frames: most frames a clip may have, >= 1.
        num_heads: of the attention, a divisor of `width`; 0 takes width // 64, at least 1.
        start: see `FrameTransformer`; under `identity` y_f is 2 f at the start.

    Raises:
        ConfigError: a setting is out of range.

    Source: Liu et al. 2022, "TS2-Net: Token Shift and Selection Transformer for Text-Video Retrieval", token selection
        module, as in its code.
    """

    def __init__(
        self,
        width: int,
        *,
        top_k: int,
        num_samples: int,
        sigma: float,
        num_layers: int,
        max_frames: int,
        num_heads: int,
        start: str,
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

    def forward(self, clips: Clips) -> Float[Tensor, "clip frame dim"]:
        """y_1 .. y_F of each clip, brought to unit length, in float32 whatever autocast says.

        Raises:
            ConfigError: a clip has more than `max_frames` frames, or a frame fewer than `top_k` patches.
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

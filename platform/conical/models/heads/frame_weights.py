"""Frames weighted by what a small network thinks of each: the one-vector student of TeachCLIP.

Shapes: V clips, F frames per clip, D width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models.heads.frame_transformer import FrameTransformer
from conical.models.heads.head import Clips, Features, PoolingHead

if TYPE_CHECKING:
    from jaxtyping import Float


class FrameWeights(PoolingHead):
    """Attentional frame-feature aggregation (AFA) behind a transformer over frames.

    With y_1 .. y_F what `FrameTransformer` makes of a clip's frames:

        z_f = w . ReLU(W y_f + b)
        v = m / |m|,  m = sum_f a_f y_f / |y_f|,  a = softmax(k z)

    w starts at 0: each frame weighs 1 / F, and this head equals `seq_transformer`, with `start="identity"` the mean of
    frames (the published code starts w with small random numbers, and has a bias there that no weight depends on).

    Without a teacher z is trained by the score alone. With one, `fine_distillation` pulls softmax(z) to the teacher's
    softmax of cosines, and k sharpens for pooling what it teaches: cosines of frames differ by little.

    Args:
        width: of the embeddings.
        sharpness: k > 0.
        num_layers: of the transformer; 0 leaves it out, and the next three settings are not read.
        max_frames: most frames a clip may have; a clip with more is refused.
        num_heads: of the attention over frames, a divisor of `width`; 0 takes width // 64, at least 1.
        start: `identity` or `clip`, see `FrameTransformer`.

    Raises:
        ConfigError: a setting is out of range.

    Source: Tian et al. 2024, "Holistic Features are almost Sufficient for Text-to-Video Retrieval" (TeachCLIP); layers
    and sharpness as in its code.
    """

    def __init__(
        self,
        width: int,
        *,
        sharpness: float = 10.0,
        num_layers: int = 4,
        max_frames: int = 64,
        num_heads: int = 0,
        start: str = "identity",
    ) -> None:
        super().__init__()
        if not 0 < sharpness < math.inf:
            raise ConfigError(f"sharpness must be a finite number > 0, got {sharpness}")
        self.sharpness = sharpness
        self.temporal: nn.Module = nn.Identity()
        if num_layers:
            self.temporal = FrameTransformer(
                width, num_layers=num_layers, max_frames=max_frames, num_heads=num_heads, start=start
            )
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def pool(self, frames: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip dim"]:
        """The weighted mean m.

        Raises:
            ConfigError: a clip has more than `max_frames` frames.
        """
        return self._weigh(frames)[0]

    def encode_clips(self, clips: Clips) -> Features:
        """`clip` (V, D), unit length; `frame_weights` (V, F), softmax(z), which sum to 1.

        Raises:
            ConfigError: a clip has more than `max_frames` frames.
        """
        mean, scores = self._weigh(clips.frames)
        return {"clip": F.normalize(mean, dim=-1), "frame_weights": scores.softmax(dim=1)}

    def _weigh(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """m (V, D) and z (V, F), in float32 whatever autocast says."""
        with torch.autocast(device_type=frames.device.type, enabled=False):
            seen: Tensor = self.temporal(frames)
            scores: Tensor = self.score(F.relu(self.hidden(seen)))[..., 0]
            weights = (self.sharpness * scores).softmax(dim=1)
            return (weights[..., None] * F.normalize(seen, dim=-1)).sum(dim=1), scores

"""The mean of frames that a transformer has put in relation to each other: CLIP4Clip's sequential type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.models.heads.frame_transformer import FrameTransformer
from conical.models.heads.head import PoolingHead

if TYPE_CHECKING:
    from jaxtyping import Float


class SeqTransformer(PoolingHead):
    """Normalised mean of the frames behind a transformer with a residual connection around it.

    With y_1 .. y_F what `FrameTransformer` makes of a clip's frames:

        v = m / |m|,  m = (y_1 / |y_1| + ... + y_F / |y_F|) / F

    Args:
        width: of the embeddings.
        num_layers: of the transformer, >= 1.
        max_frames: most frames a clip may have; a clip with more is refused.
        num_heads: of the attention, a divisor of `width`; 0 takes width // 64, at least 1.
        start: `identity` (at the start this head equals the mean of frames) or `clip`, see `FrameTransformer`.

    Raises:
        ConfigError: a setting is out of range.

    Source: CLIP4Clip (Luo et al. 2022, section 3.3, sequential type; `seqTransf` in its code, which takes 4 layers).
    It starts from CLIP's text transformer, this head does not: see `FrameTransformer`.
    """

    def __init__(
        self, width: int, *, num_layers: int = 4, max_frames: int = 64, num_heads: int = 0, start: str = "identity"
    ) -> None:
        super().__init__()
        self.temporal = FrameTransformer(
            width, num_layers=num_layers, max_frames=max_frames, num_heads=num_heads, start=start
        )

    def pool(self, frames: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip dim"]:
        """The mean of the transformed frames, each brought to unit length.

        Raises:
            ConfigError: a clip has more than `max_frames` frames.
        """
        return F.normalize(self.temporal(frames), dim=-1).mean(dim=1)

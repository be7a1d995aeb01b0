"""The mean of frame embeddings: a clip's embedding without parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.models.heads.head import PoolingHead

if TYPE_CHECKING:
    from jaxtyping import Float


class MeanPool(PoolingHead):
    """Normalised mean of the frames of a clip.

    With f_1 .. f_F the embeddings of its frames, brought to unit length:

        v = m / |m|,  m = (f_1 + ... + f_F) / F

    Args:
        width: of the embeddings; nothing here depends on it.

    Source: the parameter-free similarity of CLIP4Clip (Luo et al. 2022, section 3.3); [CEO25]'s `v_i` is this mean.

    >>> import torch
    >>> from conical.models.heads.head import Clips
    >>> MeanPool(2).encode_clips(Clips(frames=torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])))["clip"]
    tensor([[0.7071, 0.7071]])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        del width

    def pool(self, frames: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip dim"]:
        """The mean of the unit-length frames."""
        return F.normalize(frames, dim=-1).mean(dim=1)

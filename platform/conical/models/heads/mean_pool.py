"""The mean of frame embeddings: a clip's embedding without parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class MeanPool(nn.Module):
    """Normalised mean of the frames of a clip.

    With f_1 .. f_F the unit-length embeddings of its frames:

        v = m / |m|,  m = (f_1 + ... + f_F) / F

    Args:
        width: of the embeddings; nothing here depends on it.

    Source: the parameter-free similarity of CLIP4Clip (Luo et al. 2022, section 3.3); [CEO25]'s `v_i` is this mean.

    >>> import torch
    >>> MeanPool(2)(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    tensor([[0.7071, 0.7071]])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        del width

    def forward(self, frames: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip dim"]:
        """Embeddings of clips.

        Args:
            frames: (clip, frame, dim) frame embeddings of length 1.

        Returns:
            (clip, dim), of length 1.
        """
        return F.normalize(frames.mean(dim=1), dim=-1)

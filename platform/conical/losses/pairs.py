"""Which pairs of a batch are negatives, and the checks that losses on a similarity matrix share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conical.core.options import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def check_scale(name: str, scale: float | Float[Tensor, ""]) -> None:
    """Refuse a scale that is no number above 0; of a tensor only the shape is looked at.

    Raises:
        ValueError: as said.
    """
    # the value of a tensor is not read: that would stall a GPU at each step
    if isinstance(scale, Tensor):
        require(scale.ndim == 0, f"{name} must be a number or a scalar tensor, got shape {tuple(scale.shape)}")
    else:
        require(math.isfinite(scale) and scale > 0, f"{name} must be a finite number > 0, got {scale}")


def check_square(similarity: Tensor) -> None:
    """Refuse anything but (batch, batch) with a row.

    Raises:
        ValueError: as said.
    """
    require(
        similarity.ndim == 2 and similarity.shape[0] == similarity.shape[1] and similarity.shape[0] > 0,
        f"similarity must be (batch, batch) with batch >= 1, got {tuple(similarity.shape)}: "
        "give as many queries as gallery rows",
    )


def negative_pairs(
    similarity: Float[Tensor, "batch batch"], video_ids: Int[Tensor, " batch"] | None
) -> Bool[Tensor, "batch batch"]:
    """Where row and column are different videos.

    Args:
        similarity: gives the size and the device.
        video_ids: rows that share one are the same video; None: each row is a video of its own.

    Returns:
        (batch, batch), False on the diagonal.

    Raises:
        ValueError: `video_ids` are not one integer per row.

    >>> negative_pairs(torch.zeros(3, 3), torch.tensor([5, 6, 5])).int()
    tensor([[0, 1, 0],
            [1, 0, 1],
            [0, 1, 0]], dtype=torch.int32)
    """
    batch = similarity.shape[0]
    if video_ids is None:
        return ~torch.eye(batch, dtype=torch.bool, device=similarity.device)
    require(
        video_ids.shape == (batch,) and not video_ids.is_floating_point(),
        f"video_ids must be {batch} integers, one per row, got {video_ids.dtype} of shape {tuple(video_ids.shape)}",
    )
    ids = video_ids.to(similarity.device)
    return ids[:, None] != ids[None, :]

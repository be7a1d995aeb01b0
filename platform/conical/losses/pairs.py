"""The checks that losses on a similarity matrix share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from conical.core.options import require

if TYPE_CHECKING:
    from jaxtyping import Float


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

"""A learnable scale for contrastive logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conical.core.options import require
from conical.losses.options import MAX_SCALE, MIN_SCALE

if TYPE_CHECKING:
    from jaxtyping import Float


class LogitScale(torch.nn.Module):
    """A scale learnt through its logarithm and kept in [1, 100].

    Args:
        init: first value, in [1, 100].

    Raises:
        ValueError: `init` is out of range.

    Source: Radford et al. 2021 (CLIP), section 2.5: log-parameterised, clipped at 100.

    >>> LogitScale(20.0)()
    tensor(20., grad_fn=<ExpBackward0>)
    """

    def __init__(self, init: float) -> None:
        super().__init__()
        require(MIN_SCALE <= init <= MAX_SCALE, f"scale must be in [{MIN_SCALE:g}, {MAX_SCALE:g}], got {init}")
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(init)))

    def forward(self) -> Float[Tensor, ""]:
        """The scale, with gradient.

        Returns:
            Scalar in [1, 100].
        """
        # A clamp in the graph has no gradient outside the range, so one step too far would freeze the scale for good.
        # Putting the parameter itself back leaves a gradient that can lead inside again.
        with torch.no_grad():
            self.log_scale.clamp_(math.log(MIN_SCALE), math.log(MAX_SCALE))
        return self.log_scale.exp()


class LogitBias(torch.nn.Module):
    """A learnable bias of scaled scores.

    Args:
        init: first value.

    Source: Zhai et al. 2023 (SigLIP), section 3.2.
    """

    def __init__(self, init: float) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor(float(init)))

    def forward(self) -> Float[Tensor, ""]:
        """The bias, with gradient."""
        return self.bias

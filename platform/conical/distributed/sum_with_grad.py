"""The sum over ranks, with gradient.

By the convention of `conical.distributed.gather`: the gradient that reaches the sum on each rank is that of the whole
loss by the rank's own copy of it, and each rank's summand receives the sum of these over the ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from conical.distributed.group import world_size

if TYPE_CHECKING:
    from jaxtyping import Float


class _SumWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004  autograd's signature
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(grad_outputs[0])


def sum_with_grad(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Elementwise sum over the ranks; gradients are summed over the ranks too.

    Args:
        x: floating point, of the same shape on each rank.

    Returns:
        The sum, the same on each rank; `x` itself without a process group.
    """
    if world_size() == 1:
        return x
    total = _SumWithGrad.apply(x)
    assert isinstance(total, Tensor)
    return total


def _summed(x: Tensor) -> Tensor:
    total = x.contiguous().clone()
    dist.all_reduce(total)
    return total

"""Choosing the k largest scores in a way that has a gradient: the mean choice under noise."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from conical.core.options import require

if TYPE_CHECKING:
    from jaxtyping import Float


def perturbed_top_k(
    scores: Float[Tensor, "row item"], k: int, *, num_samples: int = 500, sigma: float = 0.05
) -> Float[Tensor, "row slot item"]:
    """Mean of the k-hot choice under Gaussian noise, one slot for each chosen item.

    With z_1 .. z_N noise of N(0, 1) for each item and C_n the k x P matrix whose row j marks, in the items' order, the
    j-th of the k largest of s + sigma z_n:

        C = (1 / N) sum_n C_n
        dL/ds = 1 / ((N - 1) sigma) sum_n ( l_n - mean l ) z_n,   l_n = sum_jp dL/dC_jp C_n,jp

    The noise is drawn once for all: the same for each row, call, rank and step. So a row's choice depends on that row
    alone, chunks equal the whole, and a resumed run continues exactly. Holds row x sample x item numbers for a while.

    Args:
        scores: (row, item); rows are independent.
        k: how many items are chosen, in [1, item].
        num_samples: N >= 2.
        sigma: > 0; items whose scores differ by much more are chosen for certain.

    Returns:
        (row, k, item); each slot sums to 1, each item over the slots is at most 1.

    Raises:
        ValueError: a number is out of range.

    Source: Cordonnier et al. 2021, "Differentiable Patch Selection for Image Recognition", after Berthet et al. 2020,
        "Learning with Differentiable Perturbed Optimizers". The published code keeps of the Jacobian dC_jp/ds_q only
        p = q; here it is whole. Taking the mean of l off changes no expectation but takes away most of the noise.

    >>> perturbed_top_k(torch.tensor([[0.0, 9.0, 5.0]]), 2)
    tensor([[[0., 1., 0.],
             [0., 0., 1.]]])
    """
    items = scores.shape[1]
    require(1 <= k <= items, f"k must be in [1, {items}], the number of items, got {k}")
    require(num_samples >= 2, f"num_samples must be >= 2, got {num_samples}")
    require(0 < sigma < float("inf"), f"sigma must be a finite number > 0, got {sigma}")
    noise = _noise(num_samples, items).to(scores)
    chosen: Tensor = _PerturbedTopK.apply(scores, noise, k, sigma)
    return chosen


@lru_cache(maxsize=8)
def _noise(num_samples: int, items: int) -> Tensor:
    return torch.randn(num_samples, items, generator=torch.Generator().manual_seed(0))


class _PerturbedTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, noise: Tensor, k: int, sigma: float) -> Tensor:
        top = (scores[:, None] + sigma * noise).topk(k, dim=2, sorted=False).indices
        index = top.sort(dim=2).values.transpose(1, 2)  # (row, slot, sample)
        ctx.save_for_backward(index, noise)
        ctx.sigma = sigma
        # whole numbers are exact in any order of adding
        counts = scores.new_zeros(len(scores), k, scores.shape[1])
        return counts.scatter_add(2, index, counts.new_ones(()).expand(index.shape)) / len(noise)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        index, noise = ctx.saved_tensors
        losses = gradients[0].gather(2, index).sum(dim=1)  # (row, sample)
        losses = losses - losses.mean(dim=1, keepdim=True)
        return losses @ noise / ((len(noise) - 1) * ctx.sigma), None, None, None

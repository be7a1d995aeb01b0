"""Rows of all ranks, concatenated in rank order.

How N ranks compute what one process computes. Each rank embeds its own rows, gathers everyone's with
`gather_with_grad` and computes the *whole* global loss L from them, as a mean over the global batch, unscaled. Then:

1. each rank's backward starts from its own copy of L, so the gradient that reaches gathered rows is dL/drow on each of
   the N ranks;
2. the gather's backward sums over the ranks: each rank's own rows receive N dL/drow;
3. DistributedDataParallel averages parameter gradients over the ranks:
   sum_r (N dL/drow_r drow_r/dparam) / N = dL/dparam.

So the loss needs no factor, as long as DDP averages. Parameters that act *after* the gather (a learnable scale) get
dL/dscale on each rank, whose mean is again dL/dscale. A plain gather cuts step 2: the loss is right and parameters
behind the embeddings get 1/N of the gradient. The ranks must hold equally many rows, for all of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from conical.core.options import require
from conical.distributed.group import rank, world_size

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


class _GatherWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.num_rows = x.shape[0]
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        # reduce_scatter would move less; a sum and a slice work on every backend
        total = grad_outputs[0].contiguous().clone()
        dist.all_reduce(total)
        start = rank() * ctx.num_rows
        return total[start : start + ctx.num_rows]


def gather_with_grad(x: Float[Tensor, "local dim"]) -> Float[Tensor, "world dim"]:
    """Concatenate the rows of all ranks; gradients flow back to the rank that owns a row, summed over ranks.

    Args:
        x: (local rows, ...) floating point, the same shape on each rank.

    Returns:
        (world size x local rows, ...), rank 0 first; `x` itself without a process group.

    Raises:
        ValueError: the ranks hold different shapes, or `x` has no rows dimension.
    """
    if world_size() == 1:
        return x
    gathered = _GatherWithGrad.apply(x)
    assert isinstance(gathered, Tensor)
    return gathered


@torch.no_grad()
def gather(x: Shaped[Tensor, "local ..."]) -> Shaped[Tensor, "world ..."]:
    """Concatenate the rows of all ranks without gradient, for equally many rows per rank (video ids, counts).

    Args:
        x: (local rows, ...), the same shape on each rank.

    Returns:
        (world size x local rows, ...), rank 0 first; `x` itself, detached, without a process group.

    Raises:
        ValueError: the ranks hold different shapes, or `x` has no rows dimension.
    """
    _check_rows(x)
    if world_size() == 1:
        return x.detach()
    counts = _row_counts(x)
    # gloo does not compare shapes: unequal ones give wrong rows or a crash
    require(
        len(set(counts)) == 1,
        f"gather needs as many rows on each rank, got {counts} by rank: drop the last short batch, or use gather_rows",
    )
    return _gather_equal(x)


@torch.no_grad()
def gather_rows(x: Shaped[Tensor, "local ..."]) -> Shaped[Tensor, "world ..."]:
    """Concatenate the rows of all ranks without gradient, for any number of rows per rank, none included (evaluation).

    Args:
        x: (local rows, ...); all dimensions but the first are the same on each rank.

    Returns:
        (sum of rows, ...), rank 0 first; `x` itself, detached, without a process group.

    Raises:
        ValueError: `x` has no rows dimension.
    """
    _check_rows(x)
    if world_size() == 1:
        return x.detach()
    counts = _row_counts(x)
    longest = max(counts)
    padded = x.new_zeros((longest, *x.shape[1:]))
    padded[: x.shape[0]] = x
    blocks = _gather_equal(padded).reshape(len(counts), longest, *x.shape[1:])
    return torch.cat([block[:count] for block, count in zip(blocks, counts, strict=True)])


def _check_rows(x: Tensor) -> None:
    require(x.ndim >= 1, "gather needs a tensor with rows, got a scalar: use mean_over_ranks, or x[None]")


def _row_counts(x: Tensor) -> list[int]:
    counts = _gather_equal(torch.tensor([x.shape[0]], device=x.device))
    return [int(count) for count in counts.tolist()]


def _gather_equal(x: Tensor) -> Tensor:
    blocks = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(blocks, x.contiguous())
    return torch.cat(blocks)

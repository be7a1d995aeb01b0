"""Who am I among how many, and averages over all."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def is_initialised() -> bool:
    """Whether a default process group exists."""
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if is_initialised() else 1


def rank() -> int:
    """Own number, from 0; 0 without a process group."""
    return dist.get_rank() if is_initialised() else 0


@torch.no_grad()
def mean_over_ranks(x: Tensor) -> Tensor:
    """Elementwise mean over the ranks, for logging: no gradient.

    Args:
        x: floating point, of the same shape on each rank.

    Returns:
        New tensor of that shape, the same on each rank.
    """
    total = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total / world_size()


@torch.no_grad()
def max_over_ranks(x: int) -> int:
    """The largest of the ranks' integers; `x` itself without a process group."""
    if world_size() == 1:
        return x
    # NCCL takes tensors of the GPU only, gloo either
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    largest = torch.tensor(x, device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)

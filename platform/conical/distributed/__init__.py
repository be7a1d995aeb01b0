"""Collectives that are the identity when no process group is there, so one code path serves one and many ranks."""

from conical.distributed.gather import gather, gather_rows, gather_with_grad
from conical.distributed.group import max_over_ranks, mean_over_ranks, rank, world_size

__all__ = ["gather", "gather_rows", "gather_with_grad", "max_over_ranks", "mean_over_ranks", "rank", "world_size"]

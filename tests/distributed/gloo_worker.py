"""One rank of the gather checks; `test_gather.py` starts it as a program and reads the file it writes.

A program and not a spawned function, so that it needs nothing from pytest's process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from conical.distributed import gather, gather_rows, gather_with_grad, mean_over_ranks, rank, world_size
from conical.losses import LogitScale, ceo_loss

BATCH = 12  # divisible by 2 and by 3 ranks
# videos 0, 1 and 2 stand in rows that lie on different ranks, for 2 ranks (6 rows each) and for 3 (4 each)
VIDEO_IDS = torch.tensor([0, 1, 2, 3, 0, 5, 1, 7, 0, 2, 10, 11])


class Towers(torch.nn.Module):
    """Two towers and a learnable scale, which acts after the gather."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.text = torch.nn.Linear(5, 8)
        self.video = torch.nn.Sequential(torch.nn.Linear(7, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8))
        self.scale = LogitScale(5.0)

    def forward(self, text: Tensor, video: Tensor, copy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.text(text), self.video(video), self.video(copy), self.scale()


def batch() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(BATCH, width, generator=generator) for width in (5, 7, 7)]


def own_rows(x: Tensor) -> Tensor:
    return x.chunk(world_size())[rank()]


def train(gather_embeddings: Callable[[Tensor], Tensor], *, num_steps: int) -> dict[str, Tensor]:
    """The loss and gradients of the first step, and the parameters after the last."""
    model = Towers()
    towers = DistributedDataParallel(model) if world_size() > 1 else model
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    found: dict[str, Tensor] = {}
    for step in range(num_steps):
        *embeddings, tau = towers(*(own_rows(x) for x in batch()))
        text, video, copy = (gather_embeddings(x) for x in embeddings)
        terms = ceo_loss(
            text,
            video,
            copy,
            tau_tv=tau,
            tau_ta=5.0,
            tau_va=7.0,
            weights=(1.0, 0.5, 2.0),
            video_ids=gather(own_rows(VIDEO_IDS)),
        )
        optimiser.zero_grad()
        terms.total.backward()
        if step == 0:
            found["loss"] = terms.total.detach().clone()
            found |= {f"grad/{name}": weight.grad.clone() for name, weight in model.named_parameters()}
        optimiser.step()
    return found | {f"trained/{name}": weight.detach().clone() for name, weight in model.named_parameters()}


def gather_own_gradient_only(x: Tensor) -> Tensor:
    """The usual mistake: all rows, but only the own ones carry gradient, and none comes from other ranks."""
    rows = list(gather(x).chunk(world_size()))
    rows[rank()] = x
    return torch.cat(rows)


def other_collectives() -> dict[str, Tensor]:
    own = rank()
    uneven = torch.arange(own * 2)[:, None] + 100 * own  # 0, 2 and 4 rows
    try:
        gather(uneven)
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    return {
        "uneven": gather_rows(uneven),
        "empty": gather_rows(torch.zeros(0, 3)),
        "bools": gather_rows(torch.tensor([own == 0] * (own + 1))),
        "ids": gather(torch.tensor([own, 10 + own])),
        "mean": mean_over_ranks(torch.tensor([float(own), 1.0])),
        "refusal": torch.tensor(list(refusal.encode()), dtype=torch.uint8),
    }


def main(own_rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=own_rank,
        world_size=ranks,
        timeout=timedelta(seconds=60),
    )
    results = {
        "with_grad": train(gather_with_grad, num_steps=3),
        "own_only": train(gather_own_gradient_only, num_steps=1),
        "other": other_collectives(),
    }
    torch.save(results, folder / f"rank{own_rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

"""One rank of the checks of BatchNorm over ranks; `test_synced_batch_norm.py` starts it and reads the file it writes."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from conical.distributed import gather_with_grad, rank, world_size
from conical.distributed.sum_with_grad import sum_with_grad
from conical.models.batch_norm import sync_batch_norm

BATCH = 8


class Tower(nn.Module):
    """Each kind of layer, timm's with an activation inside, one without gain and bias, one with a plain mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        # a bias before BatchNorm has no gradient but rounding
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = BatchNormAct2d(4, act_layer=nn.SiLU, inplace=True)
        self.conv2 = nn.Conv2d(4, 6, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(6, affine=False, momentum=0.3)
        self.linear = nn.Linear(6, 5, bias=False)
        self.bn3 = nn.BatchNorm1d(5, momentum=None)
        with torch.no_grad():
            for layer in (self.bn1, self.bn3):
                layer.weight.normal_()
                layer.bias.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn2(self.conv2(self.bn1(self.conv(x))))
        return self.bn3(self.linear(x.tanh().mean((2, 3))))


def batch() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    # rows of one rank differ in mean and spread from those of another
    rows = torch.arange(BATCH).view(-1, 1, 1, 1)
    return torch.randn(BATCH, 3, 9, 9, generator=generator) * (1 + rows) + rows


def own_rows(x: Tensor) -> Tensor:
    return x.chunk(world_size())[rank()]


def train(*, is_synced: bool, num_steps: int = 3) -> dict[str, Tensor]:
    """Outputs, input gradient, gradients of the first step; parameters and buffers after the last."""
    model = Tower()
    if is_synced:
        sync_batch_norm(model)
    wrapped: Callable[[Tensor], Tensor] = DistributedDataParallel(model) if world_size() > 1 else model
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    found: dict[str, Tensor] = {}
    for step in range(num_steps):
        x = own_rows(batch()).clone().requires_grad_(True)
        # twice, as clips and their transformed copies are: the layers meet two batches in a step
        rows = gather_with_grad(torch.cat([wrapped(x), wrapped(x.flip(-1) * 0.5)], dim=1))
        # every row with every other, so that no gradient is that of a row alone
        loss = (rows @ rows.T).logsumexp(1).mean() / 10
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            found["value"] = rows.detach().clone()
            # by the convention of the gather each rank has the sum over ranks: N times that of one process
            found["input"] = gather_with_grad(x.grad).clone() / world_size()
            found |= {f"grad/{name}": parameter.grad.clone() for name, parameter in model.named_parameters()}
        optimiser.step()
    found |= {f"trained/{name}": parameter.detach().clone() for name, parameter in model.named_parameters()}
    found |= {f"buffer/{name}": buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    with torch.no_grad():
        found["evaluated"] = model(batch())
    return found


def other() -> dict[str, Tensor]:
    own = torch.tensor([1.0 + rank(), 2.0], requires_grad=True)
    total = sum_with_grad(own)
    (total * torch.tensor([1.0, 10.0]) * (1 + rank())).sum().backward()
    layer = nn.BatchNorm1d(3)
    sync_batch_norm(layer)
    half = copy.deepcopy(layer)(torch.randn(4, 3, dtype=torch.bfloat16) + 100)
    layer.requires_grad_(False).eval()
    plain = nn.BatchNorm1d(3).eval()
    x = torch.randn(2, 3)
    return {
        "total": total.detach(),
        "gradient": own.grad,
        "half": half.detach(),
        "held": layer(x) - plain(x),
        "held_mean": layer.running_mean,
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
    results = {"synced": train(is_synced=True), "alone": train(is_synced=False, num_steps=1), "other": other()}
    torch.save(results, folder / f"rank{own_rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

"""BatchNorm in a model whose rows must not depend on each other, or on how many ranks there are.

In training a BatchNorm layer normalises by the mean and variance of the rows of its own process: N ranks then do not
compute what one process computes, and a small batch moves the running statistics of a pretrained tower. Two ways out:

- `hold_batch_norm` keeps the pretrained statistics: the layer is a fixed affine map, of each row alone.
- `sync_batch_norm` takes the statistics over the rows of all ranks: N ranks compute what one process computes.

`hold_batch_norm` must have the last word on each `train()`, so the module that holds the towers overrides it:

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.holds_batch_norm:
            hold_batch_norm(self.clip)
        return self

`train()` of a part (`model.clip.train()`) goes round that override and lets the layers go again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # torch's own base of all of them

from conical.core.errors import ConfigError
from conical.core.options import require
from conical.distributed.group import rank, world_size
from conical.distributed.sum_with_grad import sum_with_grad


def hold_batch_norm(module: nn.Module) -> list[str]:
    """Let each BatchNorm layer normalise by its running statistics, unchanged, until the next `train()`.

    Their gains and biases stay trained: `engine.parameter_groups.freeze_matching` freezes those. timm's layers with an
    activation inside are held too, and what else they have inside (its drop layer) stays as `train()` said. Frozen
    variants (`FrozenBatchNorm2d` and the like) have nothing to hold.

    Returns:
        Names of the layers.

    Raises:
        ConfigError: a layer keeps no running statistics.
    """
    layers = _batch_norms(module)
    for name, layer in layers.items():
        if layer.running_mean is None:
            raise ConfigError(
                f"BatchNorm {name!r} cannot be held, since it keeps no running statistics: take another model"
            )
        layer.training = False
    return list(layers)


class SyncedBatchNorm(_BatchNorm):
    """BatchNorm whose mean and variance in training are those of the rows of all ranks together.

    With m_r and v_r the mean and variance of rank r's n values of a channel, for N ranks:

        m = mean over r of m_r,   v = mean over r of (v_r + (m_r - m)^2),   y = (x - m) / sqrt(v + eps) * gain + bias

    and the running variance takes v N n / (N n - 1). The ranks must hold equally many rows. The gradient goes through m
    and v to the rows of all ranks and is summed over the ranks, by the convention of `conical.distributed.gather`:
    behind DDP's mean each parameter has the gradient that one process would have given it. torch's own `SyncBatchNorm`
    needs a GPU.

    In evaluation, and where there is one process, it is torch's BatchNorm. Layers become one through `sync_batch_norm`.
    Statistics are those of one call: rows that go through in several calls are normalised apart.

    Source: Ioffe and Szegedy 2015, algorithm 1; pooled variance by Chan et al. 1979, equation 2.1.
    """

    act: nn.Module
    drop: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Normalised per channel (dimension 1), then timm's activation if the layer had one."""
        normalised = self._over_ranks(input) if self.training and world_size() > 1 else self._alone(input)
        if "act" in self._modules:  # timm's BatchNormAct2d
            normalised = self.act(self.drop(normalised))
        return normalised

    def _alone(self, x: Tensor) -> Tensor:
        uses_batch = self.training or self.running_mean is None
        is_updated = self.training and self.track_running_stats
        momentum = self._count_batch() if is_updated else 0.0
        mean, var = (self.running_mean, self.running_var) if is_updated or not uses_batch else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, uses_batch, momentum, self.eps)

    def _over_ranks(self, x: Tensor) -> Tensor:
        values = x.float()
        num_values = world_size() * values.numel() // values.shape[1]
        require(num_values > 1, f"BatchNorm needs more than one value per channel in training, got {tuple(x.shape)}")
        mean, var = _statistics(values)
        if self.track_running_stats:
            self._move_running(mean.detach(), var.detach() * (num_values / (num_values - 1)))
        shape = (1, -1) + (1,) * (x.ndim - 2)
        gain = torch.rsqrt(var + self.eps) if self.weight is None else torch.rsqrt(var + self.eps) * self.weight
        normalised = (values - mean.view(shape)) * gain.view(shape)
        if self.bias is not None:
            normalised = normalised + self.bias.view(shape)
        return normalised.to(x.dtype)

    def _move_running(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self._count_batch()
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_(var.to(self.running_var.dtype), momentum)

    def _count_batch(self) -> float:
        """Count one more batch and return its weight: `momentum`, or 1 / batches for a plain mean over all."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum


def sync_batch_norm(module: nn.Module) -> list[str]:
    """Turn each BatchNorm layer into a `SyncedBatchNorm`, in place.

    The layers stay the same objects with the same parameters, buffers, names and hooks; timm's keep their activation.
    Frozen variants stay what they are.

    Returns:
        Names of the layers.

    Raises:
        ConfigError: a layer is of a kind that computes something else.
    """
    from timm.layers.norm_act import BatchNormAct2d

    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNormAct2d, SyncedBatchNorm)
    layers = _batch_norms(module)
    for name, layer in layers.items():
        if type(layer) not in kinds:
            raise ConfigError(
                f"BatchNorm {name!r} is a {type(layer).__name__}, which cannot be synchronised: hold its statistics "
                "instead"
            )
    for layer in layers.values():
        layer.__class__ = SyncedBatchNorm
    return list(layers)


def _batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the count) per channel over all ranks; one sum over the ranks in each direction."""
    others = [dimension for dimension in range(values.ndim) if dimension != 1]
    var, mean = torch.var_mean(values, dim=others, correction=0)
    # each rank fills its own row: the sum holds the statistics of all
    is_own = torch.zeros(world_size(), 1, 1, device=values.device)
    is_own[rank()] = 1.0
    means, variances = sum_with_grad(is_own * torch.stack([mean, var])).unbind(1)
    pooled = means.mean(0)
    return pooled, (variances + (means - pooled).square()).mean(0)

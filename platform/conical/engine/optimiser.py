"""AdamW with a linear warm-up and a cosine to zero."""

from __future__ import annotations

import math

import torch
from torch import nn

from conical.engine.options import OptimOptions


def build_optimiser(model: nn.Module, options: OptimOptions) -> torch.optim.AdamW:
    """AdamW; gains, biases and scales (fewer than two dimensions) are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate)


def learning_rate_at(step: int, *, total_steps: int, options: OptimOptions) -> float:
    """The rate of a 0-based step, as a function of the step alone, so that a resumed run needs no scheduler state.

    >>> options = OptimOptions(learning_rate=1.0, warmup_fraction=0.2)
    >>> [round(learning_rate_at(step, total_steps=10, options=options), 3) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.038]
    """
    warmup = int(total_steps * options.warmup_fraction)
    if step < warmup:
        return options.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    return options.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))

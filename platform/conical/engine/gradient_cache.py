"""The gradient of a large batch in the memory of a small one.

A contrastive loss needs the features of all rows at once, but not what each row's forward pass keeps for its backward
pass. So, for a rank's rows in chunks:

1. embed all chunks without keeping anything
2. compare the whole global batch; the gradient of the loss by each feature is kept
3. embed each chunk again and pass it its features' gradients

The result is the gradient of the whole batch, term by term (chain rule). Plain accumulation over small batches is
another thing: each small batch would have its own, fewer negatives.

Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from conical.engine.batches import Batch
from conical.engine.objective import Embedded, Objective
from conical.models.heads.head import Features


def cached_backward(
    wrapped: nn.Module,
    objective: Objective,
    batch: Batch,
    *,
    chunk_size: int,
    autocast: AbstractContextManager[Any],
) -> dict[str, Tensor]:
    """Forward and backward of one batch, in chunks.

    Args:
        wrapped: the objective, or DDP around it.
        batch: this rank's share.
        chunk_size: rows whose forward pass is kept at once, >= 1.

    Returns:
        The loss terms; gradients are in the parameters, averaged over ranks.
    """
    chunks = list(_chunks(batch, chunk_size))
    devices = [batch.frames.device] if batch.frames.device.type == "cuda" else []
    states, parts = [], []
    for chunk in chunks:
        states.append(_random_state(devices))
        with torch.no_grad(), autocast:
            parts.append(objective.embed(chunk))
    leaves = _leaves(parts)
    terms = objective.compare(leaves, batch.video)
    terms["loss"].backward()

    sizes = [len(chunk.texts) for chunk in chunks]
    by_part = {part: _split(features, sizes) for part, features in leaves.parts().items()}
    for number, (chunk, state) in enumerate(zip(chunks, states, strict=True)):
        gradient = {part: of_chunks[number] for part, of_chunks in by_part.items()}
        is_last = number == len(chunks) - 1
        # ranks meet once, when the last chunk's gradients have been added
        together: AbstractContextManager[Any] = nullcontext()
        if isinstance(wrapped, DistributedDataParallel) and not is_last:
            together = wrapped.no_sync()
        with together, _as_before(state, devices):
            with autocast:
                pulled = wrapped(chunk, gradients=gradient)
            pulled.backward()
    return terms


def _chunks(batch: Batch, size: int) -> Iterator[Batch]:
    for first in range(0, len(batch.texts), size):
        yield batch.rows(slice(first, first + size))


def _leaves(parts: list[Embedded]) -> Embedded:
    """The features of all chunks, joined, as what the gradient is asked by."""

    def join(features: list[Features]) -> dict[str, Tensor]:
        joined = {}
        for name in features[0]:
            tensors = [part[name] for part in features]
            longest = max(tensor.shape[1] for tensor in tensors) if tensors[0].ndim > 1 else 0
            whole = torch.cat([_filled(tensor, longest) for tensor in tensors])
            joined[name] = whole.requires_grad_(whole.is_floating_point())
        return joined

    by_chunk = [part.parts() for part in parts]
    return Embedded(**{name: join([chunk[name] for chunk in by_chunk]) for name in by_chunk[0]})


def _filled(tensor: Tensor, length: int) -> Tensor:
    if tensor.ndim < 2 or tensor.shape[1] == length:
        return tensor
    return nn.functional.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, length - tensor.shape[1]))


def _split(leaves: Features, sizes: list[int]) -> list[dict[str, Tensor]]:
    """Each chunk's gradients; what the loss does not depend on has none."""
    chunks: list[dict[str, Tensor]] = [{} for _ in sizes]
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            for chunk, gradient in zip(chunks, leaf.grad.split(sizes), strict=True):
                chunk[name] = gradient
    return chunks


def _random_state(devices: list[torch.device]) -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]


@contextmanager
def _as_before(state: tuple[Tensor, list[Tensor]], devices: list[torch.device]) -> Iterator[None]:
    """Draw again what was drawn when the features were computed (dropout)."""
    with torch.random.fork_rng(devices):
        torch.set_rng_state(state[0])
        for device, of_device in zip(devices, state[1], strict=True):
            torch.cuda.set_rng_state(of_device, device)
        yield

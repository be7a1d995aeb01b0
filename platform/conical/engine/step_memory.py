"""What a training step will take, from a forward pass of one row and of two, before the first step.

A step holds, beside the weights: their gradients and AdamW's two moments (three times the trained weights), and what
the forward pass keeps for the backward one, which grows with the rows. Gradients of activations and the workspace of
kernels come on top; they are not counted, so that an estimate is a lower bound (docs/log.md says how close).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from conical.engine.batches import Batch
from conical.models.dual_encoder import DualEncoder
from conical.video.transform import rotate_and_flip

_GB = 1e9
# Ray kills a worker when 95 % of a machine's memory are used
_KEPT_FREE = 0.05
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Of one process's training step, in bytes.

    Args:
        fixed: whatever the number of rows.
        per_row: of each row of this rank's share of the batch.
    """

    fixed: int
    per_row: int

    def of(self, rows: int) -> int:
        """Bytes of a step of this many rows."""
        return self.fixed + rows * self.per_row


def freeze_unused(encoder: DualEncoder, batch: Batch) -> list[str]:
    """Stop training what no embedding depends on, such as CoCa's caption decoder; DDP would wait for it for ever.

    Args:
        batch: one row or more, on the encoder's device.

    Returns:
        The names of the parameters that were frozen.
    """
    with _observed(encoder):
        texts, videos, _ = encoder(batch.frames, None, batch.texts, batch.supplements)
        head = encoder.head
        used = _parameters_behind((head.similarity(texts, videos), head.vectors(videos)))
    unused = [(name, one) for name, one in encoder.named_parameters() if one.requires_grad and id(one) not in used]
    for _, parameter in unused:
        parameter.requires_grad_(False)
    return [name for name, _ in unused]


def measure_step(
    encoder: DualEncoder, batch: Batch, *, needs_copies: bool, autocast: AbstractContextManager[Any]
) -> StepMemory:
    """The memory of a step, from what the forward passes of one row and of two keep.

    Args:
        batch: one row, the longest text in it, on the encoder's device.
        needs_copies: whether the loss embeds an augmented copy of each clip too.
        autocast: as in training.
    """
    kept = []
    for rows in (1, 2):
        with _observed(encoder), autocast:
            frames = batch.frames.repeat(rows, *[1] * (batch.frames.ndim - 1))
            copies = None
            if batch.copies is not None:
                copies = batch.copies.repeat(rows, 1, 1)
            elif needs_copies:
                copies = rotate_and_flip(frames, degrees=batch.degrees.repeat(rows), flip=batch.flip.repeat(rows))
            kept.append(_kept_bytes(encoder, frames, copies, batch.texts * rows, batch.supplements * rows))
    per_row = kept[1] - kept[0]
    trained = sum(one.numel() * one.element_size() for one in encoder.parameters() if one.requires_grad)
    return StepMemory(fixed=3 * trained + max(0, kept[0] - per_row), per_row=per_row)


def free_bytes(device: torch.device) -> int:
    """Memory that training may still take on this machine: of the GPU, or what is left until Ray ends a worker."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    memory = psutil.virtual_memory()
    free = memory.available - _KEPT_FREE * memory.total
    limit, used = (_cgroup_bytes(name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        free = min(free, (1 - _KEPT_FREE) * limit - used)
    return max(0, int(free))


def memory_warning(step: StepMemory, *, rows: int, side_by_side: int, free: int) -> str:
    """One line if the steps of all processes of a machine will not fit, else "".

    Args:
        rows: of each process's share of the batch.
        side_by_side: processes that train on this machine (on this GPU) at once.
        free: bytes that they may take together.

    >>> memory_warning(StepMemory(fixed=0, per_row=10**8), rows=64, side_by_side=2, free=9 * 10**9)
    'a step of 64 rows takes about 6.4 GB or more, 2 side by side 12.8 GB, and 9.0 GB are free: lower optim.batch_size \
or augment.num_frames'
    >>> memory_warning(StepMemory(fixed=0, per_row=10**8), rows=64, side_by_side=1, free=9 * 10**9)
    ''
    """
    need = step.of(rows)
    if need * side_by_side <= free:
        return ""
    together = f", {side_by_side} side by side {need * side_by_side / _GB:.1f} GB" if side_by_side > 1 else ""
    return (
        f"a step of {rows} rows takes about {need / _GB:.1f} GB or more{together}, and {free / _GB:.1f} GB are free: "
        "lower optim.batch_size or augment.num_frames"
    )


@contextmanager
def _observed(encoder: nn.Module) -> Iterator[None]:
    """In evaluation mode and beside the random numbers, so that training does not notice."""
    devices = [one.device for one in encoder.parameters() if one.device.type == "cuda"][:1]
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _kept_bytes(
    encoder: DualEncoder,
    frames: Tensor,
    copies: Tensor | None,
    texts: list[str],
    supplements: tuple[tuple[str, ...], ...],
) -> int:
    """Bytes that the forward pass keeps for the backward one, the weights themselves left out."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*encoder.parameters(), *encoder.buffers())}
    # held until the end: a freed storage's address could come again
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = encoder(frames, copies, texts, supplements)
    del outputs
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _parameters_behind(outputs: Iterable[Tensor]) -> set[int]:
    """`id` of each parameter that the graph behind the outputs leads to."""
    found, seen = set(), set()
    open_nodes = [output.grad_fn for output in outputs]
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        open_nodes += [following for following, _ in node.next_functions]
    return found


def _cgroup_bytes(name: str) -> int | None:
    """A number of this container's memory; None where there is no limit or no such file."""
    try:
        text = (_CGROUP / name).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None

"""The one training loop, for one process or many.

1. restore, if a checkpoint is given; else note the value of the model as it was loaded
2. for each epoch: for each step: batch -> loss over the global batch -> gradient -> clip -> update
3. after each epoch: score val, keep the best encoder, report (with a checkpoint)
4. end with the best encoder on val loaded
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conical.core.errors import ConicalError
from conical.engine.batches import Batch, BatchPlan
from conical.engine.checkpoint import Best, RunState, load_checkpoint, save_checkpoint
from conical.engine.objective import Objective
from conical.engine.optimiser import build_optimiser, learning_rate_at
from conical.engine.options import OptimOptions
from conical.engine.selection import ValScore, refuse_test_metric
from conical.metrics import merit


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What the loop says after an epoch.

    Args:
        epoch: 1-based; 0 is the model as it was loaded.
        steps_done: optimiser steps behind the run.
        total_steps: of the whole run.
        val_metrics: metric names with the split in front, and their values.
        step_metrics: one row per step of this epoch: `step` and the loss terms, rate and gradient norm.
        rows_per_second: of the global batch, in this epoch.
        waiting_share: share of the epoch spent waiting for the next batch, in [0, 1].
        save: writes a checkpoint of this moment into a folder.
    """

    epoch: int
    steps_done: int
    total_steps: int
    val_metrics: dict[str, float]
    step_metrics: list[dict[str, float]] = field(default_factory=list)
    rows_per_second: float = 0.0
    waiting_share: float = 0.0
    save: Callable[[Path], None] = field(repr=False)


def train_step(
    wrapped: nn.Module,
    batch: Batch,
    *,
    optimiser: torch.optim.Optimizer,
    learning_rate: float,
    max_grad_norm: float,
    autocast: AbstractContextManager[Any],
) -> dict[str, Tensor]:
    """One update; returns the loss terms and the norm of the gradient before clipping.

    Raises:
        ConicalError: the loss or the gradient is not finite; the model is left as it was.
    """
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    optimiser.zero_grad(set_to_none=True)
    with autocast:
        terms = wrapped(batch)
    terms["loss"].backward()
    norm = nn.utils.clip_grad_norm_(wrapped.parameters(), max_grad_norm)
    seen = {name: value.detach() for name, value in terms.items()}
    if not torch.isfinite(norm) or not torch.isfinite(seen["loss"]):
        raise ConicalError(
            f"loss is {float(seen['loss'])} with gradient norm {float(norm)}: lower optim.learning_rate or the scales"
        )
    optimiser.step()
    return {**seen, "grad_norm": norm.detach()}


def train(
    objective: Objective,
    plan: BatchPlan,
    options: OptimOptions,
    *,
    score_val: Callable[[], ValScore],
    select_metric: str,
    report: Callable[[EpochReport], None],
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    device: torch.device | None = None,
    resume_from: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> RunState:
    """Train, keeping the best encoder on val; the objective ends with that encoder loaded.

    Args:
        options: epochs, rates and the like.
        score_val: scores the encoder on val; called on every rank, returns the same on each.
        select_metric: key of its values by which the best epoch is chosen; never one of test.
        report: called on every rank after each epoch, and once before the first.
        wrap: DDP, or nothing.
        on_step: called on every rank with (steps done, steps of the run) after each step.

    Returns:
        Where the run ended.

    Raises:
        ProtocolError: `select_metric` is of the test split.
    """
    refuse_test_metric(select_metric)
    device = device or torch.device("cpu")
    objective.to(device).train()
    wrapped = wrap(objective)
    optimiser = build_optimiser(objective, options)
    autocast = autocast_of(options.precision, device)
    total_steps = options.epochs * plan.steps_per_epoch
    state, best = RunState(), Best(weights=_snapshot(objective.encoder))

    def announce(val: ValScore, **more: Any) -> None:
        def save(folder: Path) -> None:
            save_checkpoint(folder, objective=objective, optimiser=optimiser, best=best, state=state)

        where: dict[str, Any] = {"epoch": state.epochs_done, "steps_done": state.steps_done, "total_steps": total_steps}
        report(EpochReport(**where, **more, val_metrics=val.values, save=save))

    if resume_from is not None:
        best, state = load_checkpoint(resume_from, objective=objective, optimiser=optimiser)
    else:
        val = score_val()
        best = Best(weights=best.weights, ranked=val.ranked)
        state = RunState(best_value=val.values[select_metric])
        announce(val)

    for epoch in range(state.epochs_done, options.epochs):
        started, waited = time.perf_counter(), 0.0
        rows: list[dict[str, float | Tensor]] = []
        mark = started
        for step, batch in enumerate(plan.batches(epoch), start=state.steps_done):
            waited += time.perf_counter() - mark
            rate = learning_rate_at(step, total_steps=total_steps, options=options)
            terms = train_step(
                wrapped,
                to_device(batch, device),
                optimiser=optimiser,
                learning_rate=rate,
                max_grad_norm=options.max_grad_norm,
                autocast=autocast,
            )
            rows.append({"step": step, "learning_rate": rate, **terms})
            if on_step is not None:
                on_step(step + 1, total_steps)
            mark = time.perf_counter()
        seconds = time.perf_counter() - started

        val = score_val()
        value = val.values[select_metric]
        # of equal values the earlier epoch stays
        is_best = state.best_value is None or merit(select_metric, value) > merit(select_metric, state.best_value)
        if is_best:
            best = Best(weights=_snapshot(objective.encoder), ranked=val.ranked)
        state = RunState(
            epochs_done=epoch + 1,
            steps_done=state.steps_done + plan.steps_per_epoch,
            best_epoch=epoch + 1 if is_best else state.best_epoch,
            best_value=value if is_best else state.best_value,
        )
        announce(
            val,
            step_metrics=[{name: float(value) for name, value in row.items()} for row in rows],
            rows_per_second=plan.steps_per_epoch * plan.batch_size / seconds,
            waiting_share=waited / seconds,
        )

    objective.encoder.load_state_dict(best.weights)
    return state


def _snapshot(encoder: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in encoder.state_dict().items()}


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    return Batch(
        video=batch.video.to(device, non_blocking=True),
        texts=batch.texts,
        frames=batch.frames.to(device, non_blocking=True),
        degrees=batch.degrees.to(device, non_blocking=True),
        flip=batch.flip.to(device, non_blocking=True),
    )


def autocast_of(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where asked for, or where a GPU has it; float32 elsewhere. The loss itself is computed in float32."""
    is_wanted = precision == "bfloat16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return torch.autocast(device.type, dtype=torch.bfloat16) if is_wanted else nullcontext()

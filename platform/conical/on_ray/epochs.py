"""One run inside a Ray worker or trial: load, train, report. The same code for one rank and many."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conical.config import Experiment
from conical.engine.batches import BatchPlan
from conical.engine.loop import EpochReport, autocast_of, train
from conical.engine.objective import Objective
from conical.engine.selection import score_selection
from conical.engine.source import DataSource
from conical.engine.step_memory import free_bytes, freeze_unused, measure_step, memory_warning
from conical.models.dual_encoder import build_dual_encoder
from conical.on_ray.run_data import load_data, load_teacher

_SECONDS_BETWEEN_STEPS = 1.0


def run_epochs(
    experiment: Experiment,
    source: DataSource,
    *,
    report: Callable[[EpochReport], None],
    checkpoint: Callable[[Callable[[Path], None]], None] | None = None,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    resume_from: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    side_by_side: int = 1,
    warn: Callable[[str], None],
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Train one experiment on stored data, scoring val after each epoch; other arguments as for the loop.

    Args:
        side_by_side: processes that train on this machine at once; on a GPU of its own, one.
        warn: told before the first step if there is not enough memory for it.
        tell: told what is done before the first step.
    """
    device = device or torch.device("cpu")
    torch.manual_seed(experiment.seed)
    encoder = build_dual_encoder(experiment.model).to(device)
    teacher = load_teacher(source)
    objective = Objective(encoder, experiment.loss, teacher=teacher)
    if experiment.optim.checkpoint_activations:
        encoder.clip.set_grad_checkpointing()
    data = load_data(
        experiment,
        source,
        encoder,
        needs_copies=objective.needs_copies,
        keeps_frames=teacher is None,
        autocast=autocast_of(experiment.optim.precision, device),
        tell=tell,
    )
    plan = BatchPlan(
        data=data.training,
        mix=experiment.mix,
        augment=experiment.augment,
        batch_size=experiment.optim.batch_size,
        rows_per_video=experiment.optim.rows_per_video,
        seed=experiment.seed,
        rank=rank,
        world_size=world_size,
    )
    row = plan.longest_row().to(device)
    freeze_unused(encoder, row)
    step = measure_step(
        encoder,
        row,
        needs_copies=objective.needs_copies,
        autocast=autocast_of(experiment.optim.precision, device),
    )
    rows = experiment.optim.batch_size // world_size
    if caution := memory_warning(step, rows=rows, side_by_side=side_by_side, free=free_bytes(device)):
        warn(caution)

    train(
        objective,
        plan,
        experiment.optim,
        score_val=lambda: score_selection(encoder, data.val, experiment.evaluate, metric=experiment.select_by),
        select_metric=experiment.select_by,
        report=report,
        checkpoint=checkpoint,
        wrap=wrap,
        device=device,
        resume_from=resume_from,
        on_step=on_step,
    )


class StepTeller:
    """Says now and then how many steps are done, without waiting for an answer.

    Args:
        put: takes a message, `{"steps_done": 12, "total_steps": 40}` with what is always said.
    """

    def __init__(self, put: Callable[[dict[str, Any]], object], **always: Any) -> None:
        self._put = put
        self._always = always
        self._told = -_SECONDS_BETWEEN_STEPS

    def __call__(self, steps_done: int, total_steps: int) -> None:
        """Pass on at most one step a second."""
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_STEPS:
            self._told = now
            self._put({**self._always, "steps_done": steps_done, "total_steps": total_steps})


def epoch_row(report: EpochReport) -> dict[str, float]:
    """One row of numbers for a scoring of val: its metrics and means of the step metrics."""
    means = {
        f"train/{name}": sum(row[name] for row in report.step_metrics) / len(report.step_metrics)
        for name in (report.step_metrics[0] if report.step_metrics else {})
        if name != "step"
    }
    speed = {"train/rows_per_second": report.rows_per_second, "train/waiting_share": report.waiting_share}
    return {"epoch": report.epoch, **report.val_metrics, **means, **(speed if means else {})}

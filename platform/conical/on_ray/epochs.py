"""One run inside a Ray worker or trial: load, train, report. The same code for one rank and many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from conical.config import Experiment
from conical.engine.batches import BatchPlan
from conical.engine.data import load_selection_set, load_training_set, text_splitter
from conical.engine.loop import EpochReport, train
from conical.engine.objective import Objective
from conical.engine.selection import score_selection
from conical.engine.source import DataSource
from conical.models.dual_encoder import build_dual_encoder


def run_epochs(
    experiment: Experiment,
    source: DataSource,
    *,
    report: Callable[[EpochReport], None],
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    resume_from: Path | None = None,
) -> None:
    """Train one experiment on stored data, scoring val after each epoch."""
    torch.manual_seed(experiment.seed)
    encoder = build_dual_encoder(experiment.model)
    splitter = text_splitter(encoder.reader)
    training = load_training_set(source, split=splitter)
    val = load_selection_set(source, split=splitter)
    plan = BatchPlan(
        data=training,
        mix=experiment.mix,
        augment=experiment.augment,
        batch_size=experiment.optim.batch_size,
        rows_per_video=experiment.optim.rows_per_video,
        seed=experiment.seed,
        rank=rank,
        world_size=world_size,
    )

    train(
        Objective(encoder, experiment.loss),
        plan,
        experiment.optim,
        score_val=lambda: score_selection(encoder, val, experiment.evaluate, metric=experiment.select_by),
        select_metric=experiment.select_by,
        report=report,
        wrap=wrap,
        device=device,
        resume_from=resume_from,
    )


def epoch_row(report: EpochReport) -> dict[str, float]:
    """One row of numbers for an epoch: val metrics and means of the step metrics."""
    means = {
        f"train/{name}": sum(row[name] for row in report.step_metrics) / len(report.step_metrics)
        for name in (report.step_metrics[0] if report.step_metrics else {})
        if name != "step"
    }
    speed = {"train/rows_per_second": report.rows_per_second, "train/waiting_share": report.waiting_share}
    return {"epoch": float(report.epoch), **report.val_metrics, **means, **(speed if means else {})}

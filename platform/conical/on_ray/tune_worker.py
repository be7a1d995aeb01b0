"""The worker's side of a sweep: one trial, trained in the process that Ray Tune gives it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from conical.config import parse_experiment
from conical.engine.loop import EpochReport
from conical.on_ray.epochs import StepTeller, epoch_row, run_epochs
from conical.runs.dependencies import data_source
from conical.runs.search_space import to_settings
from conical.store import Workspace


def run_trial(config: dict[str, Any], *, settings: dict[str, Any], workspace: str, mailbox: Any) -> None:
    """One trial; runs in a process of Ray Tune's.

    Args:
        config: what was drawn.
        settings: the sweep's experiment as plain values.
        mailbox: takes what is done between two epochs.
    """
    import torch
    from ray import tune as ray_tune
    from ray.tune import Checkpoint

    whole = parse_experiment(settings, origin="the sweep's settings")
    experiment = whole.replace(to_settings(config, whole.tune.space))
    torch.set_num_threads(1)

    def report(epoch: EpochReport) -> None:
        row = epoch_row(epoch)
        message: dict[str, Any] = {"epoch": epoch.epoch, experiment.select_by: row[experiment.select_by]}
        # as text: Tune would flatten, copy and keep every one of these numbers a trial
        message |= {"row": json.dumps(row), "steps": json.dumps(epoch.step_metrics)}
        with tempfile.TemporaryDirectory() as folder:
            epoch.save(Path(folder))
            ray_tune.report(message, checkpoint=Checkpoint.from_directory(folder))

    latest = ray_tune.get_checkpoint()
    with latest.as_directory() if latest else tempfile.TemporaryDirectory() as folder:
        run_epochs(
            experiment,
            data_source(experiment, Workspace(Path(workspace))),
            report=report,
            device=torch.device("cuda" if experiment.ray.use_gpu else "cpu"),
            resume_from=Path(folder) if latest else None,
            side_by_side=1 if experiment.ray.use_gpu else experiment.tune.max_concurrent,
            warn=lambda text: mailbox.put.remote({"warning": text, "drawn": config}),
            on_step=StepTeller(mailbox.put.remote, drawn=config),
        )

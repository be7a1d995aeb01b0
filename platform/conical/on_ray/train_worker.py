"""The worker's side of training: one DDP rank of a run, inside a Ray Train worker."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from conical.config import parse_experiment
from conical.core.errors import UserError
from conical.engine.loop import EpochReport
from conical.on_ray.epochs import StepTeller, epoch_row, run_epochs

TOLD = "reports.json"


def run_rank(config: dict[str, Any]) -> None:
    """One rank of a training run; runs in a Ray Train worker."""
    import ray.train
    import torch
    from ray.train import Checkpoint
    from ray.train.torch import get_device
    from torch.nn.parallel import DistributedDataParallel

    from conical.on_ray.messages import ask

    experiment = parse_experiment(config["experiment"], origin="the run's settings")
    context = ray.train.get_context()
    device = get_device()
    torch.set_num_threads(max(1, int(experiment.ray.cpus_per_worker)))
    is_first = context.get_world_rank() == 0
    # all that was told so far travels with the checkpoint: a driver that is killed takes its mailbox along
    told: list[dict[str, Any]] = []

    def tell(message: dict[str, Any]) -> None:
        if is_first:
            ask(config["mailbox"].put.remote(message))

    def report(epoch: EpochReport) -> None:
        told.append({"row": epoch_row(epoch), "steps": epoch.step_metrics, "number": len(told)})
        # first the message: if this worker dies now, the epoch is reported again after the restart, and logged once
        tell(told[-1])
        checkpoint(epoch.save)

    def checkpoint(save: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            written = None
            if is_first:
                save(Path(folder))
                (Path(folder) / TOLD).write_text(json.dumps(told), encoding="utf-8")
                written = Checkpoint.from_directory(folder)
            ray.train.report({"key": config["key"]}, checkpoint=written)

    def wrap(module: torch.nn.Module) -> torch.nn.Module:
        if context.get_world_size() == 1:
            return module
        return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)

    latest = ray.train.get_checkpoint()
    with latest.as_directory() if latest else tempfile.TemporaryDirectory() as folder:
        if latest:
            told += json.loads((Path(folder) / TOLD).read_text(encoding="utf-8"))
            for message in told:
                tell({**message, "is_earlier": True})
        train = partial(
            run_epochs,
            experiment,
            config["source"],
            report=report,
            checkpoint=checkpoint,
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            device=device,
            wrap=wrap,
            resume_from=Path(folder) if latest else None,
            side_by_side=1 if device.type == "cuda" else context.get_local_world_size(),
            warn=lambda text: tell({"warning": text}),
            tell=lambda text: tell({"doing": text}),
            on_step=StepTeller(config["mailbox"].put.remote) if is_first else None,
        )
        try:
            train()
        except UserError as error:
            # as a value: Train would start the ranks again, to meet the same error. Of any rank: others may have none
            ask(config["mailbox"].put.remote({"refused": str(error)}))

"""Train one experiment on Ray Train: ranks under DDP, restarted from the last checkpoint when one dies."""

from __future__ import annotations

import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from conical.config import Experiment
from conical.core.errors import ClusterError, ConicalError, UserError
from conical.core.progress import Report, no_report
from conical.engine.source import DataSource
from conical.on_ray.session import connect
from conical.on_ray.train_progress import TrainProgress
from conical.on_ray.train_worker import run_rank
from conical.runs.identity import RunIdentity, identify
from conical.runs.log import RunLog
from conical.runs.shared_clips import refuse_shared_choice
from conical.store import RunFolder, Workspace
from conical.store.runs import BEST
from conical.tracking import MlflowTracker

_COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # a rank that died must not leave the others waiting for ever
_POLL_SECONDS = 0.5


def train(
    experiment: Experiment, workspace: Workspace, tracker: MlflowTracker, report: Report = no_report
) -> RunFolder:
    """Train, or go on training, or find it done.

    Args:
        experiment: what to train; `optim.epochs = 0` stores the model as it was loaded.
        workspace: holds frames and supplements, takes checkpoints and the record.
        report: told about once a second.

    Returns:
        The finished run's folder.

    Raises:
        UserError: data are missing or do not fit the settings, or val shares clips with test.
        ClusterError: the workers failed more often than `ray.max_failures`.
    """
    identity = identify(experiment, workspace)
    # a trial that the scheduler stopped may be scored, but it is not what was asked for here
    told = TrainProgress(experiment, report)
    if identity.folder.is_finished and identity.folder.read().status == "finished":
        told.was_there(identity.folder.read())
        return identity.folder
    told.doing("checking the data")
    check_fit(experiment, identity.source, world_size=experiment.ray.num_workers)
    if experiment.optim.epochs > 0:
        refuse_shared_choice(experiment, workspace)
        # before the run is written anywhere: a cluster that is away leaves nothing behind
        connect(workspace.logs, report)
    log = RunLog(identity, experiment, tracker)
    try:
        if experiment.optim.epochs == 0:
            _store_as_loaded(experiment, identity.folder)
        else:
            _fit(experiment, identity, log, storage=workspace.experiment(experiment.name) / "ray", told=told)
    except KeyboardInterrupt:
        log.end("running")
        raise
    except Exception:
        log.end("failed")
        raise
    log.end("finished")
    return identity.folder


def check_fit(experiment: Experiment, source: DataSource, *, world_size: int) -> None:
    """Refuse a model that is none, or a batch that does not fit the data, here in one line and not in a worker's traceback.

    Raises:
        UserError: the model is unknown or its weights no such file, the batch is larger than an epoch, or a video has
            no text of the mix.
    """
    from conical.engine.batches import BatchPlan
    from conical.engine.data import load_training_set
    from conical.models.dual_encoder import check_model

    check_model(experiment.model)
    data = load_training_set(source, split=lambda text: [text] if text.strip() else [])
    BatchPlan(
        data=data,
        mix=experiment.mix,
        augment=experiment.augment,
        batch_size=experiment.optim.batch_size,
        rows_per_video=experiment.optim.rows_per_video,
        world_size=world_size,
    )


def _store_as_loaded(experiment: Experiment, folder: RunFolder) -> None:
    """Zero-shot: the weights as they came."""
    from conical.models.dual_encoder import build_dual_encoder
    from conical.models.weight_files import save_encoder

    save_encoder(build_dual_encoder(experiment.model), folder.encoder)


def _fit(experiment: Experiment, identity: RunIdentity, log: RunLog, *, storage: Path, told: TrainProgress) -> None:
    """Run Ray Train in a thread, pass on what rank 0 says, keep the best encoder."""
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from conical.on_ray.messages import open_mailbox

    told.doing("starting workers")
    mailbox = open_mailbox()
    trainer = TorchTrainer(
        run_rank,
        train_loop_config={
            "experiment": experiment.to_dict(),
            "source": identity.source,
            "key": identity.key,
            "mailbox": mailbox,
        },
        scaling_config=ScalingConfig(
            num_workers=experiment.ray.num_workers,
            use_gpu=experiment.ray.use_gpu,
            resources_per_worker={
                "CPU": experiment.ray.cpus_per_worker,
                **({"GPU": 1} if experiment.ray.use_gpu else {}),
            },
        ),
        torch_config=TorchConfig(timeout_s=int(_COLLECTIVE_TIMEOUT.total_seconds())),
        run_config=RunConfig(
            # the key is the name: another experiment can never be handed this one's result
            name=identity.key,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=experiment.ray.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    outcome: dict[str, Any] = {}

    def fit() -> None:
        try:
            outcome["result"] = trainer.fit()
        except Exception as error:  # noqa: BLE001  carried to the driver's own thread below
            outcome["error"] = error

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while True:
        is_over = not thread.is_alive()
        for message in ray.get(mailbox.take.remote()):
            if "row" in message:
                log.epoch(message["row"], message["steps"])
            told(message, log.record)
        if is_over:
            break
        thread.join(_POLL_SECONDS)
    ray.kill(mailbox)
    told.doing("storing the best epoch")
    if "error" in outcome:
        raise _user_error(outcome["error"]) from outcome["error"]
    result = outcome["result"]
    assert result.metrics["key"] == identity.key, (result.metrics["key"], identity.key)
    identity.folder.take_encoder(RunFolder(Path(result.checkpoint.path) / BEST))
    shutil.rmtree(storage / identity.key)  # optimiser state of a finished run serves nothing


def _user_error(error: Exception) -> ConicalError:
    """What Ray wrapped, as one line."""
    for failure in getattr(error, "worker_failures", {}).values():
        for cause in (failure, getattr(failure, "cause", None), failure.__cause__):
            if isinstance(cause, UserError):
                return cause
    last = [line for line in str(error).strip().splitlines() if line.strip()][-1]
    return ClusterError(f"training failed ({last.strip()[:300]}): see logs/ray.log in the workspace, then run it again")

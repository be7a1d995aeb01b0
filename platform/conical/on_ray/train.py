"""Train one experiment on Ray Train: ranks under DDP, restarted from the last checkpoint when one dies."""

from __future__ import annotations

import json
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from conical.config import Experiment
from conical.core.errors import ClusterError, UserError
from conical.core.progress import Report, no_report
from conical.engine.source import DataSource
from conical.on_ray.failures import explain
from conical.on_ray.room import needs, require_room, told_of_waiting
from conical.on_ray.session import connect
from conical.on_ray.train_progress import TrainProgress
from conical.on_ray.train_worker import TOLD, run_rank
from conical.runs.identity import RunIdentity, identify
from conical.runs.log import RunLog
from conical.runs.shared_clips import refuse_shared_choice
from conical.store import RunFolder, Workspace
from conical.store.runs import BEST
from conical.tracking import MlflowTracker

_COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # a rank that died must not leave the others waiting for ever
_POLL_SECONDS = 0.5
_SECONDS_AFTER_REFUSAL = 30.0
_MEMORY_SETTINGS = "optim.batch_size, frames.num_frames or ray.num_workers"


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
        ClusterError: the cluster has no room, or the workers failed more often than `ray.max_failures`.
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
        tracker.load()
        # before the run is written anywhere: a cluster that is away or too small leaves nothing behind
        connect(workspace.logs, report)
        require_room(needs(experiment)["train"])
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
    """Refuse a model that is none, or a batch that does not fit the data, before a worker does.

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

    from conical.on_ray.messages import ask, open_mailbox

    told.doing("starting workers")
    started = time.time()
    need = needs(experiment)["train"]
    mailbox = open_mailbox(f"{_train_name(identity)} messages")
    outcome: dict[str, Any] = {}
    is_left = threading.Event()

    def fit() -> None:
        # Train counts the failures of its workers itself; these are those of its controller, which Ray's memory monitor
        # may end as well: a new one goes on from the last checkpoint
        for _ in range(experiment.ray.max_failures + 1):
            try:
                outcome["result"] = _trainer(experiment, identity, mailbox=mailbox, storage=storage).fit()
                return
            except ray.exceptions.RayError as error:
                outcome["error"] = error
                if is_left.is_set():  # interrupted: Ray goes down, and must not be started anew
                    return
            except Exception as error:  # noqa: BLE001  carried to the driver's own thread below
                outcome["error"] = error
                return

    thread = threading.Thread(target=fit, daemon=True)
    try:
        with told_of_waiting(need, told.doing) as waiting:
            thread.start()
            while True:
                is_over = not thread.is_alive()
                for message in ask(mailbox.take.remote()) or ():
                    waiting.end()
                    if "refused" in message:
                        outcome |= {"refused_at": time.monotonic(), **message}
                    else:
                        _pass_on(message, log, told)
                # a rank that met no error may wait for those that have gone
                is_waiting = time.monotonic() - outcome.get("refused_at", time.monotonic()) > _SECONDS_AFTER_REFUSAL
                if is_over or is_waiting:
                    break
                thread.join(_POLL_SECONDS)
    finally:
        is_left.set()
    ray.kill(mailbox)
    if "refused" in outcome:
        raise UserError(outcome["refused"])
    if "result" not in outcome:
        error = outcome["error"]
        raise explain(error, stage="training", lower=_MEMORY_SETTINGS, since=started) from error
    told.doing("storing the best epoch")
    result = outcome["result"]
    if result.checkpoint is not None:
        assert result.metrics["key"] == identity.key, (result.metrics["key"], identity.key)
        checkpoint = Path(result.checkpoint.path)
        for message in json.loads((checkpoint / TOLD).read_text(encoding="utf-8")):
            _pass_on(message, log, told)  # what a mailbox took along that was ended itself
    if not log.is_whole:  # an error was told to a mailbox that was ended itself
        raise ClusterError(
            "training ended before its last epoch, and why was lost: see logs/ray.log, then run it again"
        )
    identity.folder.take_encoder(RunFolder(checkpoint / BEST))
    shutil.rmtree(storage / _train_name(identity))  # optimiser state of a finished run serves nothing


def _train_name(identity: RunIdentity) -> str:
    """What Ray calls the run, on its pages and on the disk."""
    return f"train-{identity.key}"


def _trainer(experiment: Experiment, identity: RunIdentity, *, mailbox: Any, storage: Path) -> Any:
    """A `TorchTrainer` of the run; one of the same name goes on from the last checkpoint."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    return TorchTrainer(
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
            # with the key in its name another experiment can never be handed this one's result
            name=_train_name(identity),
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=experiment.ray.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )


def _pass_on(message: dict[str, Any], log: RunLog, told: TrainProgress) -> None:
    if "row" in message:
        if message["number"] < log.num_epochs:
            message = {**message, "is_earlier": True}
        # after a gap only the checkpoint of the end has all, see `_fit`
        elif message["number"] == log.num_epochs:
            log.epoch(message["row"], message["steps"])
    told(message, log.record)

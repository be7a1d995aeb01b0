"""Search settings on Ray Tune; selection sees the val split only.

A trial is a run of its sweep's own (its folder, its key, its MLflow run below the sweep's) trained in the trial's own
process: no second actor, so it starts in a few seconds. All trials of a machine share one memory map of the frames.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.errors import ClusterError, ConfigError
from conical.core.progress import Activity, Progress, Report, Told, no_report
from conical.metrics import higher_is_better
from conical.on_ray.failures import explain
from conical.on_ray.room import needs, told_of_waiting, with_note_of_room
from conical.on_ray.session import connect
from conical.on_ray.train import check_fit
from conical.on_ray.tune_worker import run_trial
from conical.runs.dependencies import data_source
from conical.runs.identity import sweep_path
from conical.runs.search_space import parameters, starting_point
from conical.runs.shared_clips import refuse_shared_choice
from conical.runs.supplements import find_supplements
from conical.runs.sweep_log import SweepBook
from conical.store import Sweep, Workspace, read_sweep
from conical.tracking import MlflowTracker

_TUNE_FOLDER = "ray"
_MEMORY_SETTINGS = "tune.max_concurrent, optim.batch_size or frames.num_frames"


def tune(experiment: Experiment, workspace: Workspace, tracker: MlflowTracker, report: Report = no_report) -> Sweep:
    """Search, or go on searching, or find it done.

    Args:
        experiment: settings, search space and number of trials.
        workspace: holds frames and supplements, takes runs.
        report: told about once a second.

    Returns:
        The finished sweep; the run of `best.run_key` is the winner.

    Raises:
        UserError: data are missing or do not fit the settings, or val shares clips with test.
        StoreError: no trial reported a value.
        ClusterError: the cluster has no room for a trial, all trials failed, or Tune stopped before all had ended.
    """
    _check_space(experiment, workspace)
    path = sweep_path(experiment, workspace)
    known = read_sweep(path)
    if known is None or not known.is_finished:
        report(Activity(stage="tune", doing="checking the data"))
        check_fit(experiment, data_source(experiment, workspace), world_size=1)
        refuse_shared_choice(experiment, workspace)
        connect(workspace.logs, report)
        report(Activity(stage="tune", doing="starting trials"))
        _search(experiment, workspace, tracker, path=path, known=known, report=report)
        known = read_sweep(path)
        assert known is not None
        if not known.is_finished:
            raise ClusterError(f"the sweep stopped before its {experiment.tune.num_trials} trials ended: run it again")
        shutil.rmtree(path.parent / _TUNE_FOLDER)  # Tune's own state of a finished sweep serves nothing
    else:
        num_epochs = sum(trial.epochs for trial in known.trials)
        report(Progress(stage="tune", done=num_epochs, total=num_epochs, unit="epochs"))
    return known


def _search(
    experiment: Experiment,
    workspace: Workspace,
    tracker: MlflowTracker,
    *,
    path: Path,
    known: Sweep | None,
    report: Report,
) -> None:
    """Run Tune to its end, with the sweep's book open."""
    import ray

    from conical.on_ray.messages import open_mailbox

    started = time.time()
    need = needs(experiment)["tune"]
    mailbox = open_mailbox(f"tune-{path.parent.name} messages")
    with told_of_waiting(need, lambda what: report(Activity(stage="tune", doing=what))) as waiting:
        is_open = False

        def tell(told: Told) -> None:
            if is_open:  # the book speaks once when it opens
                waiting.end()
            report(told)

        book = SweepBook(
            experiment,
            workspace,
            tracker,
            path=path,
            known=known,
            report=with_note_of_room(need, tell),
            take_steps=lambda: ray.get(mailbox.take.remote()),
        )
        with book:
            is_open = True
            results = _build_tuner(experiment, workspace, path.parent, mailbox=mailbox).fit()
            if len(results) and results.num_errors == len(results):
                error = results.errors[0]
                raise explain(error, stage="every trial", lower=_MEMORY_SETTINGS, since=started) from error
    ray.kill(mailbox)


def _check_space(experiment: Experiment, workspace: Workspace) -> None:
    """Refuse a mix of prompts that are not captioned, or whose supplements are missing, before the first trial does."""
    searched = set(experiment.tune.space.get("mix", {}).get("simplex", ())) - {HUMAN}
    unknown = sorted(searched - {*experiment.captions.prompts})
    if unknown:
        raise ConfigError(
            f"tune.space.mix searches prompt {', '.join(unknown)}, but captions.prompts is "
            f"{', '.join(experiment.captions.prompts)}: name the same prompts in both"
        )
    find_supplements(experiment, workspace, searched, splits=("train",))


def _build_tuner(experiment: Experiment, workspace: Workspace, folder: Path, *, mailbox: Any) -> Any:
    """A new tuner, or the interrupted one with its finished trials."""
    import optuna
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from conical.on_ray.sweep_callback import ForwardToBook

    optuna.logging.disable_default_handler()  # it writes to the terminal

    options = experiment.tune
    mode = "max" if higher_is_better(experiment.select_by) else "min"
    aim: dict[str, Any] = {"metric": experiment.select_by, "mode": mode}
    trial = ray_tune.with_parameters(
        run_trial, settings=experiment.to_dict(), workspace=str(workspace.root), mailbox=mailbox
    )
    trial.__name__ = f"tune-{folder.name}"  # what Ray's pages and folders call its trials
    trainable = ray_tune.with_resources(
        trial,
        {"CPU": 1.0, **({"GPU": 1.0} if experiment.ray.use_gpu else {})},
    )
    storage = str(folder / _TUNE_FOLDER)
    if ray_tune.Tuner.can_restore(storage):
        return ray_tune.Tuner.restore(storage, trainable, resume_unfinished=True, resume_errored=True)
    scheduler = ASHAScheduler(
        time_attr="epoch",
        max_t=max(1, experiment.optim.epochs),
        grace_period=max(1, min(options.grace_epochs, experiment.optim.epochs)),
        reduction_factor=options.reduction_factor,
    )
    searcher = OptunaSearch(
        space=_to_ray_space(options.space),
        **aim,
        points_to_evaluate=[starting_point(experiment)],
        seed=experiment.seed,
    )
    return ray_tune.Tuner(
        trainable,
        tune_config=ray_tune.TuneConfig(
            num_samples=options.num_trials,
            max_concurrent_trials=options.max_concurrent,
            search_alg=searcher,
            scheduler=scheduler if options.scheduler == "asha" else None,
            **(aim if options.scheduler == "asha" else {}),
        ),
        run_config=ray_tune.RunConfig(
            name=_TUNE_FOLDER,
            storage_path=str(folder),
            verbose=0,
            callbacks=[ForwardToBook()],
            failure_config=ray_tune.FailureConfig(max_failures=experiment.ray.max_failures),
            checkpoint_config=ray_tune.CheckpointConfig(num_to_keep=1),
        ),
    )


def _to_ray_space(space: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, Any]:
    """Ray Tune's distributions by parameter name."""
    from ray import tune as ray_tune

    draws = {
        "uniform": lambda values: ray_tune.uniform(*values),
        "log_uniform": lambda values: ray_tune.loguniform(*values),
        "choice": ray_tune.choice,
    }
    return {name: draws[kind](values) for name, (kind, values) in parameters(space).items()}

"""Search settings on Ray Tune; selection sees the val split only.

A trial is a run of its sweep's own (its folder, its key, its MLflow run below the sweep's) trained in the trial's own
process: no second actor, so it starts in a few seconds. All trials of a machine share one memory map of the frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.errors import ClusterError, ConfigError
from conical.core.progress import Report, no_report
from conical.metrics import higher_is_better
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


def tune(experiment: Experiment, workspace: Workspace, tracker: MlflowTracker, report: Report = no_report) -> Sweep:
    """Search, or go on searching, or find it done.

    Args:
        experiment: settings, search space and number of trials.
        workspace: holds frames and supplements, takes runs.
        report: told after each epoch of a trial.

    Returns:
        The finished sweep; the run of `best.run_key` is the winner.

    Raises:
        UserError: data are missing or do not fit the settings, or val shares clips with test.
        StoreError: no trial reported a value.
        ClusterError: Tune stopped before all trials had ended.
    """
    _check_space(experiment, workspace)
    path = sweep_path(experiment, workspace)
    known = read_sweep(path)
    if known is None or not known.is_finished:
        check_fit(experiment, data_source(experiment, workspace), world_size=1)
        refuse_shared_choice(experiment, workspace)
        connect(workspace.logs)
        with SweepBook(experiment, workspace, tracker, path=path, known=known, report=report):
            _build_tuner(experiment, workspace, path.parent).fit()
        known = read_sweep(path)
        assert known is not None
        if not known.is_finished:
            raise ClusterError(f"the sweep stopped before its {experiment.tune.num_trials} trials ended: run it again")
        shutil.rmtree(path.parent / "ray")  # Tune's own state of a finished sweep serves nothing
    return known


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


def _build_tuner(experiment: Experiment, workspace: Workspace, folder: Path) -> Any:
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
    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(run_trial, settings=experiment.to_dict(), workspace=str(workspace.root)),
        {"CPU": 1.0, **({"GPU": 1.0} if experiment.ray.use_gpu else {})},
    )
    storage = str(folder / "ray")
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
            name="ray",
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

"""Find runs by what a user calls them: key, label or MLflow id."""

from __future__ import annotations

from conical.core.errors import DataError
from conical.store import RunFolder, Workspace, list_runs, read_sweep


def find_run(workspace: Workspace, experiment: str, name: str) -> RunFolder:
    """A run by its key (or the first letters of it) or its MLflow id.

    Raises:
        DataError: none or several fit.
    """
    runs = list_runs(workspace.experiment(experiment))
    if not runs:
        raise DataError(
            f"run {name!r} is not in {workspace.root}: experiment {experiment!r} has no run yet, train first"
        )
    matches = [run for run in runs if run.path.name.startswith(name) or run.read().tracking_id == name]
    if len(matches) != 1:
        known = ", ".join(f"{run.path.name[:8]} ({run.read().label})" for run in runs)
        what = "fits no run" if not matches else f"fits {len(matches)} runs"
        raise DataError(f"run {name!r} {what} of experiment {experiment!r}: choose one of {known}")
    return matches[0]


def scorable_runs(workspace: Workspace, experiment: str, names: list[str]) -> list[RunFolder]:
    """The named runs, else every finished run of the experiment that is not a trial.

    Raises:
        DataError: a name fits nothing, or there is no run.
    """
    if names:
        return [run for name in names for run in runs_named(workspace, experiment, name)]
    folder = workspace.experiment(experiment)
    sweeps = [read_sweep(path) for path in folder.glob("sweeps/*/sweep.json")]
    trials = {trial.run_key for sweep in sweeps if sweep is not None for trial in sweep.trials}
    runs = [run for run in list_runs(folder) if run.is_finished and run.path.name not in trials]
    if not runs:
        raise DataError(f"experiment {experiment!r} has no finished run in {workspace.root}: run train first")
    return runs


def runs_named(workspace: Workspace, experiment: str, name: str) -> list[RunFolder]:
    """All finished runs with this label, by seed; else the one run with this key or MLflow id, or several with commas.

    Raises:
        DataError: nothing fits.
    """
    labelled = [run for run in list_runs(workspace.experiment(experiment)) if run.is_finished]
    labelled = [run for run in labelled if run.read().label == name]
    if labelled:
        return sorted(labelled, key=lambda run: run.read().seed)
    return [find_run(workspace, experiment, key.strip()) for key in name.split(",")]


def one_finished_run(workspace: Workspace, experiment: str, name: str) -> RunFolder:
    """The one finished run that a name means: a label that only one run has, a key or an MLflow id.

    Raises:
        DataError: nothing fits, several runs have the label, or the run is not finished.
    """
    runs = runs_named(workspace, experiment, name)
    if len(runs) > 1:
        keys = ", ".join(f"{run.path.name[:8]} (seed {run.read().seed})" for run in runs)
        raise DataError(f"{len(runs)} runs are called {name!r}: choose one by its key, {keys}")
    (run,) = runs
    if not run.is_finished:
        record = run.read()
        raise DataError(f"run {record.key} ({record.label}) is {record.status}, not finished: train it first")
    return run

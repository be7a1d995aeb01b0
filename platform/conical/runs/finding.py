"""Find runs by what a user calls them: key, label or MLflow id; first in one experiment, then in all of a workspace."""

from __future__ import annotations

from collections.abc import Sequence

from conical.core.errors import DataError
from conical.store import RunFolder, Workspace, list_runs, read_sweep

_SHOWN = 12


def find_run(workspace: Workspace, experiment: str, name: str) -> RunFolder:
    """A run by its key (or the first letters of it) or its MLflow id, in this experiment or else in any.

    Args:
        experiment: where to look first.
        name: as above; `EXPERIMENT/NAME` looks in that experiment only.

    Raises:
        DataError: none or several fit.
    """
    return _one(workspace, experiment, name, _by_key(workspace, experiment, name))


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
        others = [name for name in _experiments(workspace, experiment)[1:] if list_runs(workspace.experiment(name))]
        hint = f"; --set name=EXPERIMENT takes another: {', '.join(others)}" if others else ""
        raise DataError(f"experiment {experiment!r} has no finished run in {workspace.root}: run train first{hint}")
    return runs


def runs_named(workspace: Workspace, experiment: str, name: str) -> list[RunFolder]:
    """All finished runs with this label, by seed; else the one run with this key or MLflow id, or several with commas.

    Args:
        experiment: where to look first; what it does not have is looked for in the others.
        name: as above; `EXPERIMENT/NAME` looks in that experiment only.

    Raises:
        DataError: nothing fits, or several experiments have it.
    """
    found = _by_label(workspace, experiment, name)
    if len(found) > 1:
        names = ", ".join(repr(f"{place}/{name}") for place in found)
        raise DataError(f"{len(found)} experiments have runs called {name!r}: choose one of {names}")
    if found:
        (runs,) = found.values()
        return sorted(runs, key=lambda run: run.read().seed)
    keys = [key.strip() for key in name.split(",")]
    if len(keys) == 1:
        return [find_run(workspace, experiment, name)]
    return [find_run(workspace, experiment, key) for key in keys]


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


def experiment_of(run: RunFolder) -> str:
    """Name of the experiment whose folder a run is in."""
    return run.path.parent.parent.name


def _experiments(workspace: Workspace, first: str) -> list[str]:
    """Names of all experiments, the preferred one in front, whether it has a folder or not."""
    folders = sorted(path.name for path in workspace.experiments.glob("*") if path.is_dir())
    return [first, *(name for name in folders if name != first)]


def _places(workspace: Workspace, experiment: str, name: str) -> list[tuple[str, str]]:
    """Where a name is looked for, and as what: an experiment in front of a slash is the only place."""
    known = _experiments(workspace, experiment)
    head, slash, rest = name.partition("/")
    if slash and rest and head in known:
        return [(head, rest)]
    return [(place, name) for place in known]


def _by_label(workspace: Workspace, experiment: str, name: str) -> dict[str, list[RunFolder]]:
    """Finished runs of a label by experiment; those of the preferred one alone if it has any."""
    found: dict[str, list[RunFolder]] = {}
    for place, label in _places(workspace, experiment, name):
        runs = [run for run in list_runs(workspace.experiment(place)) if run.is_finished and run.read().label == label]
        if runs:
            found[place] = runs
            if place == experiment:
                break
    return found


def _by_key(workspace: Workspace, experiment: str, name: str) -> list[RunFolder]:
    found: list[RunFolder] = []
    for place, key in _places(workspace, experiment, name):
        runs = list_runs(workspace.experiment(place))
        fitting = [run for run in runs if run.path.name.startswith(key) or run.read().tracking_id == key]
        if fitting and place == experiment:
            return fitting
        found += fitting
    return found


def _one(workspace: Workspace, experiment: str, name: str, matches: Sequence[RunFolder]) -> RunFolder:
    if len(matches) == 1:
        return matches[0]
    runs = [run for place in _experiments(workspace, experiment) for run in list_runs(workspace.experiment(place))]
    if not runs:
        raise DataError(f"run {name!r} is not in {workspace.root}: there is no run yet, train first")
    shown = matches or runs
    known = ", ".join(f"{experiment_of(run)}/{run.path.name[:8]} ({run.read().label})" for run in shown[:_SHOWN])
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    what = "fits no run" if not matches else f"fits {len(matches)} runs"
    raise DataError(f"run {name!r} {what} of {workspace.root}: choose one of {known}{more}")

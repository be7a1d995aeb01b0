"""Which run an experiment is: its data, its key, its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conical.config import Experiment
from conical.engine.source import DataSource
from conical.runs.dependencies import Dependencies, data_source, run_dependencies, sweep_key
from conical.store import RunFolder, Workspace


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What `identify` finds.

    Args:
        depends_on: all that determines the result.
        source: the stored data it reads.
        folder: where its record lies.
    """

    depends_on: Dependencies
    source: DataSource
    folder: RunFolder

    @property
    def key(self) -> str:
        """Hash of all that determines the result; the name of the folder."""
        return self.folder.path.name


def identify(experiment: Experiment, workspace: Workspace, *, sweep: str = "") -> RunIdentity:
    """Which run training this experiment gives, on the data as they are now.

    Args:
        sweep: key of the sweep whose trial this is, see `run_dependencies`.

    Raises:
        DataError: frames or supplements are missing.
    """
    source = data_source(experiment, workspace)
    depends_on = run_dependencies(experiment, workspace, source, sweep=sweep)
    return RunIdentity(
        depends_on=depends_on,
        source=source,
        folder=RunFolder(workspace.experiment(experiment.name) / "runs" / depends_on.key),
    )


def sweep_path(experiment: Experiment, workspace: Workspace) -> Path:
    """Where the sweep of this experiment is recorded.

    Raises:
        DataError: frames or supplements are missing.
    """
    key = sweep_key(experiment, identify(experiment, workspace).depends_on)
    return workspace.experiment(experiment.name) / "sweeps" / key / "sweep.json"

"""`conical status`, and `--dry-run` of every stage: what is fresh, stale or missing for a config, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from conical.cli.common import Config, Debug, Set, console, open_experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conical.config import Experiment
    from conical.core.stage_state import StageState
    from conical.store import Workspace

_STYLES = {"fresh": "green", "stale": "bold yellow", "partial": "yellow", "missing": "bold"}


def status(config: Config = None, set_: Set = None, debug: Debug = False) -> None:
    """What is fresh, stale or missing for a config, and why; no stage is run."""
    print_status(*open_experiment(config, set_))


def print_status(experiment: Experiment, workspace: Workspace) -> None:
    """One line per stage: dataset, frames, supplements, run, sweep, evaluations.

    Args:
        workspace: what is looked at; no store is written.
    """
    from conical.library.data_state import dataset_state, frames_state
    from conical.runs.state import (
        captioner_frames_recipe,
        evaluation_states,
        run_state,
        supplements_state,
        sweep_state,
    )

    states = [dataset_state(experiment, workspace), frames_state(experiment, workspace, experiment.frames)]
    recipe = captioner_frames_recipe(experiment)
    if recipe is not None:
        states.append(frames_state(experiment, workspace, recipe, stage="caption frames"))
    states += [supplements_state(experiment, workspace), run_state(experiment, workspace)]
    states += evaluation_states(experiment, workspace)
    states.append(sweep_state(experiment, workspace))
    _print(states, title=f"{experiment.name}: {experiment.title}, seed {experiment.seed}, in {workspace.root}")


def _print(states: Sequence[StageState], *, title: str) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for state in states:
        table.add_row(state.stage, Text(state.state, style=_STYLES[state.state]), Text(state.detail))
    console.print(title, markup=False, highlight=False)
    console.print(table)

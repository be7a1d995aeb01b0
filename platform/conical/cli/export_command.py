"""`conical export`: a run as a folder that open_clip loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conical.cli.common import Config, Debug, Set, console, open_experiment


def export(
    run: Annotated[str, typer.Argument(help="Key, label or MLflow id of a finished run.")],
    to: Annotated[Path, typer.Option(help="Folder; absent, empty or an earlier export.")],
    config: Config = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Write a run's encoder as an open_clip folder with a model card."""
    experiment, workspace = open_experiment(config, set_, reads=("name",))
    from conical.runs.export import export_run
    from conical.runs.finding import one_finished_run

    folder = export_run(one_finished_run(workspace, experiment.name, run), to)
    console.print(f"open_clip folder -> {folder}", highlight=False, markup=False)
    console.print(
        f'load it: open_clip.create_model_and_transforms("local-dir:{folder}")', highlight=False, markup=False
    )

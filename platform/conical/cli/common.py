"""What every command on an experiment takes, and what it opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from conical.cli.quiet import divert_chatter

if TYPE_CHECKING:
    from conical.config import Experiment
    from conical.store import Workspace

console = Console(soft_wrap=True)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; without it the offline demo's settings.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, for example loss.tau_tv=40; may be repeated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what is fresh, stale or missing, and do nothing.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something is wrong.")]


def open_experiment(config: Path | None, overrides: list[str] | None) -> tuple[Experiment, Workspace]:
    """Settings first: a mistake in them must not leave a folder behind.

    Args:
        config: TOML file; None: the offline demo.
        overrides: of `--set`.

    Returns:
        The experiment and the workspace; libraries' chatter goes to a file of it from now on.

    Raises:
        ConfigError: a setting is refused.
        StoreError: the workspace cannot be written.
    """
    from conical.config import load_experiment
    from conical.store import Workspace

    experiment = load_experiment(config, overrides or [])
    workspace = Workspace.open()
    divert_chatter(workspace.logs / "libraries.log")
    return experiment, workspace

"""What every command on an experiment takes, and what it opens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, ConsoleDimensions

from conical.cli.quiet import divert_chatter

if TYPE_CHECKING:
    from conical.config import Experiment
    from conical.store import Workspace


class _Log(Console):
    """What is not a terminal, such as a file or the log of a CI job: no line is broken, so that it can be searched."""

    def __init__(self) -> None:
        super().__init__(soft_wrap=True)

    @property  # type: ignore[misc]  # nothing sets it
    def size(self) -> ConsoleDimensions:
        """Room for a whole table of results, unless COLUMNS says otherwise."""
        return super().size if "COLUMNS" in os.environ else ConsoleDimensions(100, 25)


# on a terminal lines break between words
console = Console() if sys.stdout.isatty() else _Log()

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; without it the offline demo's settings.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, for example loss.tau_tv=40; may be repeated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what is fresh, stale or missing, and do nothing.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something is wrong.")]


def open_experiment(
    config: Path | None, overrides: list[str] | None, *, reads: Sequence[str] | None = None
) -> tuple[Experiment, Workspace]:
    """Settings first: a mistake in them must not leave a folder behind.

    Args:
        config: TOML file; None: the offline demo.
        overrides: of `--set`.
        reads: the settings and tables that the command reads beside those a run was trained with, which are the run's
            own; None: it reads all.

    Returns:
        The experiment and the workspace; libraries' chatter goes to a file of it from now on.

    Raises:
        ConfigError: a setting is refused, or the command would not read it.
        StoreError: the workspace cannot be written.
    """
    from conical.config import load_experiment
    from conical.store import Workspace

    if reads is not None:
        _refuse_unread(overrides or [], reads)
    experiment = load_experiment(config, overrides or [])
    workspace = Workspace.open()
    divert_chatter(workspace.logs / "libraries.log")
    return experiment, workspace


def _refuse_unread(overrides: Sequence[str], reads: Sequence[str]) -> None:
    from conical.core.errors import ConfigError

    names = [override.partition("=")[0].strip() for override in overrides]
    unread = [name for name in names if not any(name == read or name.startswith(f"{read}.") for read in reads)]
    if unread:
        raise ConfigError(
            f"--set {', '.join(dict.fromkeys(unread))} would change nothing: a finished run keeps the settings it was "
            f"trained with, and this command reads {' and '.join(reads)} only; train a run with it, then name that run"
        )

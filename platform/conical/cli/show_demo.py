"""The last lines of `conical demo`: a small table, a verdict, the report, what to do next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from conical.cli.show import print_grids, print_verdict
from conical.on_ray.demo import METHODS, DemoResult
from conical.reports import headline_grid


def print_demo(console: Console, result: DemoResult, *, config: Path | None, overrides: Sequence[str]) -> None:
    """About ten lines below one table.

    Args:
        config: as the demo was called; the next commands need it as well.
        overrides: of `--set`, likewise.
    """
    if grid := headline_grid(result.data.rows):
        print_grids(console, [grid])
        console.print()
    print_verdict(console, result.data, result.paths)
    console.print("Next:", highlight=False)
    for what, command in next_commands(config=config, overrides=overrides):
        console.print(f"  # {what}", highlight=False, markup=False, style="dim" if console.is_terminal else "")
        # not broken by us: it is there to be copied
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)


def next_commands(*, config: Path | None, overrides: Sequence[str]) -> list[tuple[str, str]]:
    """What each is for, and the command, as it can be typed where the demo was started."""
    program = _program()
    file = ["--config", str(config)] if config else []
    given = [word for override in overrides for word in ("--set", override)]
    # of the settings `compare` reads the experiment's name alone
    name = [word for override in overrides if override.startswith("name=") for word in ("--set", override)]
    with_supplements, without = (METHODS[method].changes["label"] for method in ("ceo-supplements", "ceo-human"))
    return [
        (
            "do the supplements help by another metric?",
            shlex.join([*program, "compare", with_supplements, without, "--metric", "R10", *file, *name]),
        ),
        (
            "train with one setting changed",
            shlex.join([*program, "train", *file, *given, "--set", "loss.tau_tv=40"]),
        ),
        ("every run, curve and file in MLflow, in a browser", shlex.join([*program, "ui"])),
    ]


def _program() -> list[str]:
    """`conical` where the shell finds it, else the path of it: `make demo` activates no environment."""
    beside = Path(sys.executable).with_name("conical")
    found = shutil.which("conical")
    if found and Path(found).resolve() == beside.resolve():
        return ["conical"]
    if beside.is_file():
        here = Path(os.path.relpath(beside))
        return [str(beside) if ".." in here.parts else str(here)]
    return [sys.executable, "-m", "conical"]

"""`conical`: one command a stage. Each parses, calls one function of a lower layer and prints what it gave.

Heavy libraries are imported inside the commands, so that `conical --help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from conical import __version__
from conical.cli.common import Config, Debug, DryRun, Set, console, open_experiment
from conical.cli.data_commands import data_app
from conical.cli.export_command import export
from conical.cli.interrupts import INTERRUPTED, orderly_interrupts
from conical.cli.list_commands import list_
from conical.cli.score_commands import compare, evaluate, score
from conical.cli.status_command import print_status, status
from conical.core.errors import ConicalError, UserError

app = typer.Typer(
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
errors = Console(stderr=True, soft_wrap=True)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        console.print(f"conical {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Ray-distributed experiments on video-text retrieval. Every command defaults to the offline demo."""


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point: a user's mistake is one line and exit code 2, an interruption 130."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    is_debug = "--debug" in words or "CONICAL_DEBUG" in os.environ
    try:
        with orderly_interrupts():
            code = app(args=words, standalone_mode=False) or 0
        # typer makes an exit code of a KeyboardInterrupt, and says nothing
        if code == INTERRUPTED:
            _fail_interrupted(words)
        sys.exit(code)
    except KeyboardInterrupt:
        _fail_interrupted(words)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except ConicalError as error:
        if is_debug:
            traceback.print_exc()
        _fail(str(error), 2 if isinstance(error, UserError) else 1)
    except Exception as error:
        # typer's own complaints about arguments
        if hasattr(error, "format_message"):
            _fail(f"{error.format_message().rstrip('.')}: {_advice(words, getattr(error, 'option_name', None))}", 2)
        if isinstance(error, ValueError) and not is_debug:
            _fail(str(error), 2)
        raise


def _fail_interrupted(words: Sequence[str]) -> None:
    again = shlex.join(["conical", *words])
    _fail(f"interrupted: what was finished is kept, and the same command goes on from there ({again})", INTERRUPTED)


def _advice(words: Sequence[str], option: str | None) -> str:
    """Where to look; of an option that is a setting's name, how to set it."""
    from conical.config import Experiment
    from conical.config.nested import dotted_names

    wanted = (option or "").lstrip("-").replace("-", "_")
    names = dotted_names(Experiment)
    keys = [wanted] if wanted in names else [name for name in names if name.rpartition(".")[2] == wanted]
    if not keys:
        return "see 'conical --help'"
    given = next((word for word in words if word.startswith(f"{option}")), "")
    place = list(words).index(given) if given in words else -1
    value = given.partition("=")[2] or (words[place + 1] if 0 <= place < len(words) - 1 else "VALUE")
    return " or ".join(f"--set {key}={value}" for key in keys)


def _fail(message: str, code: int) -> None:
    errors.print(f"[bold red]conical:[/] {message.replace('[', chr(92) + '[')}", highlight=False)
    sys.exit(code)


@app.command()
def ingest(
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash all files again; decode anew those that have changed.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try all videos again that were set aside.")
    ] = False,
    config: Config = None,
    set_: Set = None,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Decode exact frames of every video into the frame store."""
    experiment, workspace = open_experiment(config, set_)
    if dry_run:
        print_status(experiment, workspace)
        return
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show_ingest import print_ingest
    from conical.on_ray.ingest import ingest as run

    with ProgressLine(console) as line:
        summary = run(experiment, workspace, line, verify=verify, retry_failed=retry_failed)
    folder = workspace.frames(experiment.dataset.folder, experiment.frames.hash)
    print_ingest(console, summary, num_frames=experiment.frames.num_frames, folder=folder)


@app.command()
def caption(config: Config = None, set_: Set = None, dry_run: DryRun = False, debug: Debug = False) -> None:
    """Let the captioner watch every video and write the supplements of each prompt into the ledger."""
    experiment, workspace = open_experiment(config, set_)
    if dry_run:
        print_status(experiment, workspace)
        return
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show_caption import print_caption
    from conical.on_ray.caption import caption as run

    with ProgressLine(console) as line:
        summary = run(experiment, workspace, line)
    print_caption(console, summary, folder=workspace.captions(experiment.dataset.folder))


@app.command()
def train(config: Config = None, set_: Set = None, dry_run: DryRun = False, debug: Debug = False) -> None:
    """Fine-tune the dual encoder; frames and supplements must be there."""
    experiment, workspace = open_experiment(config, set_)
    if dry_run:
        print_status(experiment, workspace)
        return
    from conical.cli.progress_line import ProgressLine
    from conical.on_ray.train import train as fit
    from conical.runs.log import open_tracker

    with ProgressLine(console) as line:
        folder = fit(experiment, workspace, open_tracker(experiment, workspace), line)
    record = folder.read()
    value = "not scored yet" if record.val_value is None else f"{experiment.select_by} {record.val_value:.1f}"
    lacking = f", {record.supplements_note}" if record.supplements_note else ""
    console.print(
        f"run {record.key}: {record.label}, {value} at epoch {record.best_epoch:g}{lacking} -> {folder.path}",
        highlight=False,
    )


@app.command()
def tune(config: Config = None, set_: Set = None, dry_run: DryRun = False, debug: Debug = False) -> None:
    """Search temperatures and the prompt mix on val, then score the winner once on test."""
    experiment, workspace = open_experiment(config, set_)
    if dry_run:
        print_status(experiment, workspace)
        return
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show import print_evaluations, print_sweep
    from conical.on_ray.evaluate import evaluate_run
    from conical.on_ray.prepare import prepare
    from conical.on_ray.tune import tune as search
    from conical.runs.finding import find_run
    from conical.runs.log import open_tracker
    from conical.runs.looks import with_all_looks

    tracker = open_tracker(experiment, workspace)
    with ProgressLine(console) as line:
        prepare(experiment, workspace, line)
        sweep = search(experiment, workspace, tracker, line)
        winner = find_run(workspace, experiment.name, sweep.best.run_key)
        scored = evaluate_run(winner, workspace, tracker, experiment.evaluate, report=line)
    print_evaluations(console, with_all_looks(winner), scored)
    print_sweep(console, sweep)


app.command()(evaluate)
app.command()(score)
app.command()(compare)
app.command()(export)
app.command("list")(list_)
app.command()(status)


@app.command()
def report(
    name: Annotated[
        str | None,
        typer.Argument(help="Experiment, or key, MLflow id or label of a run; without it the config's experiment."),
    ] = None,
    config: Config = None,
    set_: Set = None,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Tables on the terminal, and one self-contained HTML file with figures and single queries."""
    experiment, workspace = open_experiment(config, set_, reads=None if dry_run else ("name", "evaluate"))
    if dry_run:
        print_status(experiment, workspace)
        return
    from conical.cli.show import print_report
    from conical.reports import write_report
    from conical.runs.report.builder import report_on
    from conical.runs.report.publish import publish_report

    data, folder = report_on(
        workspace, name or experiment.name, experiment.name, protocol=experiment.evaluate.names()[0].protocol
    )
    print_report(console, data, write_report(data, folder))
    publish_report(folder, experiment, workspace)


@app.command()
def demo(config: Config = None, set_: Set = None, dry_run: DryRun = False, debug: Debug = False) -> None:
    """The whole chain on generated videos: ingest, caption, train four methods, search, score, report."""
    experiment, workspace = open_experiment(config, set_)
    if dry_run:
        print_status(experiment, workspace)
        return
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show_demo import print_demo
    from conical.on_ray.demo import run_demo

    with ProgressLine(console) as line:
        result = run_demo(experiment, workspace, line)
    print_demo(console, result, config=config, overrides=set_ or [])


@app.command()
def ui(port: Annotated[int, typer.Option(help="On loopback.")] = 5000, debug: Debug = False) -> None:
    """Serve MLflow's pages for this workspace on loopback until Ctrl-C."""
    from conical.store import Workspace
    from conical.tracking import require_free_port, serve_ui, view_links

    workspace = Workspace.open()
    require_free_port(port)
    console.print(f"MLflow on http://127.0.0.1:{port} for {workspace.root}; Ctrl-C ends it", highlight=False)
    # the view has the columns and charts that count; MLflow's own pages show it at this address only
    for name, link in view_links(workspace.tracking_uri, workspace.artifacts, port=port).items():
        console.print(f"{name}: {link}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(serve_ui(workspace.tracking_uri, workspace.artifacts, port=port))


@app.command()
def doctor(config: Config = None, set_: Set = None, debug: Debug = False) -> None:
    """Is this machine fit to run these settings? One line per check; exit code 1 if one fails."""
    from conical.cli.show import print_checks
    from conical.config import load_experiment
    from conical.workbench.doctor.checks import run_checks

    raise typer.Exit(print_checks(console, run_checks(experiment=load_experiment(config, set_ or []))))

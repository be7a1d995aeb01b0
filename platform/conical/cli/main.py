"""`conical`: one command a stage. Each parses, calls one function of a lower layer and prints what it gave.

Heavy libraries are imported inside the commands, so that `conical --help` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from conical.cli.data import data_app
from conical.cli.quiet import divert_chatter
from conical.core.errors import ConicalError, UserError

if TYPE_CHECKING:
    from conical.config import Experiment
    from conical.engine.options import EvaluateOptions
    from conical.store import Workspace

app = typer.Typer(
    help="Ray-distributed experiments on video-text retrieval. Every command defaults to the offline demo.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; without it the offline demo's settings.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, for example loss.tau_tv=40; may be repeated.")]
Protocols = Annotated[
    list[str] | None, typer.Option("--protocol", help="raw, captioned-gallery or paired-supplement; may be repeated.")
]
Families = Annotated[
    list[str] | None, typer.Option("--family", help="dsl or qbnorm, beside the plain scores; may be repeated.")
]
Subsets = Annotated[
    list[str] | None, typer.Option("--subset", help="leak-free, beside the whole of test; after data audit.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something is wrong.")]


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point: a user's mistake is one line and exit code 2, an interruption 130."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    is_debug = "--debug" in words or "CONICAL_DEBUG" in os.environ
    try:
        sys.exit(app(args=words, standalone_mode=False) or 0)
    except KeyboardInterrupt:
        _fail("interrupted: stores are whole; run the same command to go on", 130)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except ConicalError as error:
        if is_debug:
            traceback.print_exc()
        _fail(str(error), 2 if isinstance(error, UserError) else 1)
    except Exception as error:
        # typer's own complaints about arguments
        if hasattr(error, "format_message"):
            _fail(f"{error.format_message().rstrip('.')}: see 'conical --help'", 2)
        if isinstance(error, ValueError) and not is_debug:
            _fail(str(error), 2)
        raise


def _fail(message: str, code: int) -> None:
    errors.print(f"[bold red]conical:[/] {message.replace('[', chr(92) + '[')}", highlight=False)
    sys.exit(code)


def _open(config: Path | None, overrides: list[str] | None) -> tuple[Experiment, Workspace]:
    """Settings first: a mistake in them must not leave a folder behind."""
    from conical.config import load_experiment
    from conical.store import Workspace

    experiment = load_experiment(config, overrides or [])
    workspace = Workspace.open()
    divert_chatter(workspace.logs / "libraries.log")
    return experiment, workspace


def _asked(
    experiment: Experiment, protocol: list[str] | None, family: list[str] | None, subset: list[str] | None
) -> EvaluateOptions:
    """The `[evaluate]` table, with what the command line says in place of its lists."""
    asked = {"evaluate.protocols": protocol, "evaluate.families": family, "evaluate.subsets": subset}
    return experiment.replace({name: value for name, value in asked.items() if value}).evaluate


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
    debug: Debug = False,
) -> None:
    """Decode exact frames of every video into the frame store."""
    experiment, workspace = _open(config, set_)
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show_ingest import print_ingest
    from conical.on_ray import stages

    with ProgressLine(console) as line:
        summary = stages.ingest(experiment, workspace, line, verify=verify, retry_failed=retry_failed)
    folder = workspace.frames(experiment.dataset.folder, experiment.frames.hash)
    print_ingest(console, summary, num_frames=experiment.frames.num_frames, folder=folder)


@app.command()
def caption(config: Config = None, set_: Set = None, debug: Debug = False) -> None:
    """Let the captioner watch every video and write the supplements of each prompt into the ledger."""
    experiment, workspace = _open(config, set_)
    from conical.cli.progress_line import ProgressLine
    from conical.on_ray import stages

    with ProgressLine(console) as line:
        summary = stages.caption(experiment, workspace, line)
    console.print(
        f"supplements: {summary.ok} new, {summary.skipped} were there, {summary.failed} failed, "
        f"{summary.skipped_without_frames} of videos without frames, {summary.truncated} met the token limit, "
        f"{summary.seconds:.1f} s -> {workspace.captions(experiment.dataset.folder)}",
        highlight=False,
    )


@app.command()
def train(config: Config = None, set_: Set = None, debug: Debug = False) -> None:
    """Fine-tune the dual encoder; frames and supplements must be there."""
    experiment, workspace = _open(config, set_)
    from conical.cli.progress_line import ProgressLine
    from conical.on_ray.run_log import open_tracker
    from conical.on_ray.train import train as fit

    with ProgressLine(console) as line:
        folder = fit(experiment, workspace, open_tracker(experiment, workspace), line)
    record = folder.read()
    value = "not scored yet" if record.val_value is None else f"{experiment.tune.metric} {record.val_value:.1f}"
    console.print(
        f"run {record.key}: {record.label}, {value} at epoch {record.best_epoch} -> {folder.path}", highlight=False
    )


@app.command()
def tune(config: Config = None, set_: Set = None, debug: Debug = False) -> None:
    """Search temperatures and the prompt mix on val, then score the winner once on test."""
    experiment, workspace = _open(config, set_)
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show import print_evaluations, print_sweep
    from conical.on_ray.evaluate import evaluate_run, find_run
    from conical.on_ray.run_log import open_tracker
    from conical.on_ray.stages import prepare
    from conical.on_ray.tune import tune as search

    tracker = open_tracker(experiment, workspace)
    with ProgressLine(console) as line:
        prepare(experiment, workspace, line)
        sweep = search(experiment, workspace, tracker, line)
        winner = find_run(workspace, experiment.name, sweep.best.run_key)
        scored = evaluate_run(winner, workspace, tracker, experiment.evaluate, report=line)
    print_evaluations(console, winner.read(), scored)
    print_sweep(console, sweep)


@app.command()
def evaluate(
    run_: Annotated[
        list[str] | None, typer.Option("--run", help="Key, label or MLflow id; without it every run.")
    ] = None,
    protocol: Protocols = None,
    family: Families = None,
    subset: Subsets = None,
    repeat: Annotated[bool, typer.Option("--repeat", help="Score again; a further look at test is counted.")] = False,
    allow_trial: Annotated[
        bool, typer.Option("--allow-trial", help="Score a trial on test that its sweep did not choose; recorded.")
    ] = False,
    similarity: Annotated[
        list[str] | None,
        typer.Option(help="Instead of runs: a matrix of anyone's, .npy, .npz or .parquet, rows are texts; repeatable."),
    ] = None,
    embeddings: Annotated[
        tuple[str, str] | None, typer.Option(metavar="TEXT VIDEO", help="Instead of runs: files of embeddings.")
    ] = None,
    fuse: Annotated[str | None, typer.Option(help="Weights of several matrices, for example 0.73,0.27.")] = None,
    positives: Annotated[
        Path | None, typer.Option(help="JSON: the correct columns of each row; without it the diagonal.")
    ] = None,
    rescore: Annotated[str | None, typer.Option(help="dsl or qbnorm; a family of numbers of its own.")] = None,
    bank: Annotated[str | None, typer.Option(help="For qbnorm: scores of train captions, the same videos.")] = None,
    scale: Annotated[float | None, typer.Option(help="Inside the softmax; 100 for dsl, 20 for qbnorm.")] = None,
    transpose: Annotated[bool, typer.Option("--transpose", help="The matrices' rows are videos.")] = False,
    cosine: Annotated[bool, typer.Option("--cosine", help="Bring embeddings to length 1 first.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the numbers of a matrix here too.")] = None,
    config: Config = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Score finished runs on val and test, or anyone's matrix: both directions, with intervals."""
    asked = (similarity, embeddings, fuse, positives, rescore, bank, scale, transpose, cosine, json_path)
    if any(value is not None and value is not False for value in asked):
        from conical.cli.score import ScoreOptions, score_files

        options = ScoreOptions(
            similarity=similarity or (),
            embeddings=embeddings,
            fuse=fuse,
            positives=positives,
            rescore=rescore,
            bank=bank,
            scale=scale,
            is_transposed=transpose,
            is_cosine=cosine,
            json_path=json_path,
            is_of_runs=bool(run_ or repeat or allow_trial or protocol or family or subset or config or set_),
        )
        score_files(console, options)
        return
    experiment, workspace = _open(config, set_)
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show import print_evaluations
    from conical.on_ray.evaluate import evaluate_run, scorable_runs
    from conical.on_ray.run_log import open_tracker

    options = _asked(experiment, protocol, family, subset)
    tracker = open_tracker(experiment, workspace)
    for folder in scorable_runs(workspace, experiment.name, run_ or []):
        with ProgressLine(console) as line:
            scored = evaluate_run(
                folder, workspace, tracker, options, repeat=repeat, allow_trial=allow_trial, report=line
            )
        print_evaluations(console, folder.read(), scored)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Key, MLflow id or label (all its seeds) of the run that is judged.")],
    b: Annotated[str, typer.Argument(help="The same of the run it is judged against.")],
    split: Annotated[str, typer.Option(help="A scored split.")] = "test",
    metric: Annotated[str, typer.Option(help="R1, R5, R10, MedR or MeanR.")] = "R1",
    direction: Annotated[str, typer.Option(help="t2v, v2t or v2t_any.")] = "t2v",
    protocol: Annotated[str, typer.Option(help="Of both evaluations.")] = "raw",
    family: Annotated[str | None, typer.Option(help="Of both: dsl or qbnorm.")] = None,
    subset: Annotated[str | None, typer.Option(help="Of both: leak-free.")] = None,
    config: Config = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Paired test of two runs, or two methods over their seeds, on the same queries."""
    experiment, workspace = _open(config, set_)
    from conical.on_ray.comparison import compare_methods
    from conical.on_ray.evaluate import runs_named
    from conical.reports import comparison_sentence, comparisons_grid, rich_table

    found = compare_methods(
        runs_named(workspace, experiment.name, a),
        runs_named(workspace, experiment.name, b),
        split=split,
        protocol=protocol,
        family=family,
        subset=subset,
        direction=direction,
        metric=metric,
    )
    console.print(rich_table(comparisons_grid([found])))
    console.print(comparison_sentence(found), highlight=False)


@app.command()
def report(
    name: Annotated[
        str | None,
        typer.Argument(help="Experiment, or key, MLflow id or label of a run; without it the config's experiment."),
    ] = None,
    config: Config = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Tables on the terminal, and one self-contained HTML file with figures and single queries."""
    experiment, workspace = _open(config, set_)
    from conical.cli.show import print_report
    from conical.on_ray.reporting import report_on
    from conical.reports import write_report

    data, folder = report_on(
        workspace, name or experiment.name, experiment.name, protocol=experiment.evaluate.protocols[0]
    )
    print_report(console, data, write_report(data, folder))


@app.command()
def demo(config: Config = None, set_: Set = None, debug: Debug = False) -> None:
    """The whole chain on generated videos: ingest, caption, train four methods, search, score, report."""
    experiment, workspace = _open(config, set_)
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show import print_report
    from conical.on_ray.demo import run_demo
    from conical.on_ray.reporting import build_report
    from conical.reports import write_report

    with ProgressLine(console) as line:
        run_demo(experiment, workspace, line)
    data = build_report(workspace, experiment.name)
    print_report(console, data, write_report(data, workspace.experiment(experiment.name) / "report"))
    console.print("all runs in MLflow: [bold]make ui[/]", highlight=False)


@app.command()
def ui(port: Annotated[int, typer.Option(help="On loopback.")] = 5000, debug: Debug = False) -> None:
    """Serve MLflow's pages for this workspace on loopback until Ctrl-C."""
    from conical.store import Workspace
    from conical.tracking import serve_ui

    workspace = Workspace.open()
    console.print(f"MLflow on http://127.0.0.1:{port} for {workspace.root}; Ctrl-C ends it", highlight=False)
    raise typer.Exit(serve_ui(workspace.tracking_uri, workspace.artifacts, port=port))


@app.command()
def doctor(debug: Debug = False) -> None:
    """Is this machine fit to run? One line a check; exit code 1 if one fails."""
    from conical.cli.show import print_checks
    from conical.on_ray.doctor import run_checks

    raise typer.Exit(print_checks(console, run_checks()))

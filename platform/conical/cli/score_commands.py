"""`conical evaluate`, `score` and `compare`: numbers of runs, of anyone's matrix, and whether they differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conical.cli.common import Config, Debug, DryRun, Set, console, open_experiment
from conical.cli.status_command import print_status

if TYPE_CHECKING:
    from conical.config import Experiment
    from conical.store import Workspace

Protocols = Annotated[
    list[str] | None,
    typer.Option(
        "--protocol", help="raw, captioned-gallery, paired-supplement or package.module:NAME; may be repeated."
    ),
]
Families = Annotated[
    list[str] | None,
    typer.Option("--family", help="dsl, qbnorm or package.module:NAME, beside the plain scores; may be repeated."),
]
Subsets = Annotated[
    list[str] | None, typer.Option("--subset", help="leak-free, beside the whole of test; after data audit.")
]
On = Annotated[
    Path | None,
    typer.Option("--on", metavar="FOLDER", help="Score on the dataset in this folder, not on the run's own."),
]
Reader = Annotated[str | None, typer.Option(help="With --on: a dataset card; without it frames.")]
Options = Annotated[list[str] | None, typer.Option("--option", help="With --on: KEY=VALUE for the reader.")]
Captions = Annotated[
    Path | None, typer.Option(help="With --on: a CSV of columns video_id and caption (or sentence), or JSON.")
]
NumFrames = Annotated[int | None, typer.Option(help="With --on: frames a video; without it the run's number.")]
Splits = Annotated[list[str] | None, typer.Option(help="With --on: test, the default, or val; may be repeated.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="With --on: go on without absent videos.")]
AsJson = Annotated[bool, typer.Option("--json", help="With --on: JSON alone on standard output.")]


def evaluate(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Key, label or MLflow id; without any every run.")
    ] = None,
    protocol: Protocols = None,
    family: Families = None,
    subset: Subsets = None,
    repeat: Annotated[bool, typer.Option("--repeat", help="Score again; a further look at test is counted.")] = False,
    allow_trial: Annotated[
        bool, typer.Option("--allow-trial", help="Score a trial on test that its sweep did not choose; recorded.")
    ] = False,
    on: On = None,
    reader: Reader = None,
    option: Options = None,
    captions: Captions = None,
    num_frames: NumFrames = None,
    splits: Splits = None,
    allow_missing: AllowMissing = False,
    as_json: AsJson = False,
    config: Config = None,
    set_: Set = None,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Score finished runs on val and test, or on another dataset (--on): both directions, with intervals."""
    given = {
        "--reader": reader,
        "--option": option,
        "--captions": captions,
        "--num-frames": num_frames is not None,
        "--splits": splits,
        "--allow-missing": allow_missing,
        "--json": as_json,
    }
    _refuse_without_dataset(on, [name for name, value in given.items() if value], runs or [], is_dry=dry_run)
    experiment, workspace = open_experiment(config, set_, reads=None if dry_run else ("name", "evaluate", "tracking"))
    experiment = _asked(experiment, protocol, family, subset)
    if on is not None:
        from conical.cli.data_commands import pairs
        from conical.cli.evaluate_on_runs import evaluate_on_runs
        from conical.runs.other_dataset import OtherDataset

        asked = OtherDataset(
            root=on,
            name=reader or "frames",
            reader=pairs(option or []),
            captions=captions,
            num_frames=num_frames,
            allow_missing=allow_missing,
        )
        experiment = experiment.replace({"evaluate.splits": splits or ["test"]})
        evaluate_on_runs(
            experiment,
            workspace,
            asked,
            names=runs or [],
            repeat=repeat,
            allow_trial=allow_trial,
            as_json=as_json,
        )
        return
    if dry_run:
        _print_states(experiment, workspace, runs or [])
        return
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show import print_evaluations
    from conical.on_ray.evaluate import evaluate_run
    from conical.runs.finding import scorable_runs
    from conical.runs.log import open_tracker
    from conical.runs.looks import with_all_looks

    tracker = open_tracker(experiment, workspace)
    for folder in scorable_runs(workspace, experiment.name, runs or []):
        with ProgressLine(console) as line:
            scored = evaluate_run(
                folder, workspace, tracker, experiment.evaluate, repeat=repeat, allow_trial=allow_trial, report=line
            )
        print_evaluations(console, with_all_looks(folder), scored)


def score(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Matrices, .npy, .npz, file.npz:name or .parquet; rows are texts."),
    ] = None,
    embeddings: Annotated[
        tuple[str, str] | None, typer.Option(metavar="TEXT VIDEO", help="In place of matrices: files of embeddings.")
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
    distractors: Annotated[
        int | None, typer.Option(help="Videos after one per text that belong to none; without it there are none.")
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the numbers here too.")] = None,
    debug: Debug = False,
) -> None:
    """Score anyone's matrices or embeddings: the same ranks, ties and intervals as for our own runs."""
    from conical.cli.score_files import ScoreOptions, score_files

    options = ScoreOptions(
        files=files or (),
        embeddings=embeddings,
        fuse=fuse,
        positives=positives,
        rescore=rescore,
        bank=bank,
        scale=scale,
        is_transposed=transpose,
        is_cosine=cosine,
        num_distractors=distractors,
        json_path=json_path,
    )
    score_files(console, options)


def compare(
    a: Annotated[str, typer.Argument(help="Label (all its seeds), key, keys with commas or MLflow id.")],
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
    experiment, workspace = open_experiment(config, set_, reads=("name",))
    from conical.metrics import EvaluationName
    from conical.reports import comparison_sentence, comparisons_grid, rich_table
    from conical.runs.comparison import compare_methods, lacking_supplements, same_weights, unpaired_seeds
    from conical.runs.finding import runs_named
    from conical.runs.staleness import stale_notes

    runs_a, runs_b = runs_named(workspace, experiment.name, a), runs_named(workspace, experiment.name, b)
    found = compare_methods(
        runs_a,
        runs_b,
        split=split,
        protocol=protocol,
        family=family,
        subset=subset,
        direction=direction,
        metric=metric,
    )
    console.print(rich_table(comparisons_grid([found]), width=console.width), soft_wrap=False)
    console.print(comparison_sentence(found), highlight=False, markup=False)
    if left_out := unpaired_seeds(runs_a, runs_b):
        console.print(left_out, highlight=False, markup=False)
    name = EvaluationName(split=split, protocol=protocol, family=family, subset=subset)
    scored = {run: run.read_evaluation(split, protocol, family=family, subset=subset) for run in (*runs_a, *runs_b)}
    named = {f"{run.read().label} ({run.path.name})": found for run, found in scored.items() if found is not None}
    for note in same_weights(named):
        console.print(note, highlight=False, markup=False)
    for note in lacking_supplements([*runs_a, *runs_b]):
        console.print(note, highlight=False, markup=False)
    for note in stale_notes([*runs_a, *runs_b], name, workspace):
        console.print(note, highlight=False, markup=False)


def _refuse_without_dataset(on: Path | None, given: list[str], runs: list[str], *, is_dry: bool) -> None:
    """Refuse options that another dataset gives their meaning, and another dataset without a run."""
    from conical.core.errors import ConfigError

    if on is None and given:
        raise ConfigError(
            f"{', '.join(given)} would change nothing without --on FOLDER: name the dataset, or leave out"
        )
    if on is not None and not runs:
        raise ConfigError("--on scores the runs that are named: give at least one RUN")
    if on is not None and is_dry:
        raise ConfigError("--dry-run does not look at another dataset: leave out --dry-run or --on")


def _print_states(experiment: Experiment, workspace: Workspace, runs: list[str]) -> None:
    """What is fresh, stale or missing for the config, or for each named run scored as the config says."""
    from conical.config import parse_experiment
    from conical.runs.finding import scorable_runs

    if not runs:
        print_status(experiment, workspace)
    for folder in scorable_runs(workspace, experiment.name, runs) if runs else []:
        trained = parse_experiment(folder.read().config, origin=f"the settings of run {folder.path.name}")
        print_status(trained.replace({"evaluate": experiment.to_dict()["evaluate"]}), workspace)


def _asked(
    experiment: Experiment, protocol: list[str] | None, family: list[str] | None, subset: list[str] | None
) -> Experiment:
    """The experiment, with what the command line says in place of the lists of `[evaluate]`."""
    asked = {"evaluate.protocols": protocol, "evaluate.families": family, "evaluate.subsets": subset}
    return experiment.replace({name: value for name, value in asked.items() if value})

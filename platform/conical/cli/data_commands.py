"""`conical data`: bring a dataset in and look at it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from conical.cli.common import console
from conical.cli.quiet import divert_chatter
from conical.core.errors import ConfigError

if TYPE_CHECKING:
    from conical.config import Experiment
    from conical.core.records import DatasetSummary
    from conical.store import Workspace

data_app = typer.Typer(help="Import a dataset, audit it, look at it.", no_args_is_help=True)
errors = Console(stderr=True, soft_wrap=True)

Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something is wrong.")]
Name = Annotated[str, typer.Argument(help="A dataset of the workspace, or enough of the beginning of its name.")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file: whose frames are preferred, whose model.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, for example frames.size=64.")]


@data_app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="A dataset card, such as msrvtt, msvd, didemo, videomind, manifest.")],
    root: Annotated[Path, typer.Argument(help="Folder with the annotation files and, at any depth, the videos.")],
    option: Annotated[
        list[str] | None, typer.Option("--option", help="KEY=VALUE for the reader, e.g. split=1k-A; may be repeated.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without videos that have no file; every number says so.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Read annotations, find the videos, assert the published counts, write the manifest."""
    from conical.config import Experiment
    from conical.datasets import DATASETS
    from conical.library.importing import import_dataset

    if name == "scenes":
        raise ConfigError("dataset 'scenes' is generated, not imported: conical ingest makes it")
    settings = {
        "dataset.name": name,
        "dataset.root": str(root.expanduser().absolute()),
        "dataset.reader": pairs(option or []),
        "dataset.allow_missing": allow_missing,
    }
    experiment = Experiment().replace(settings)
    workspace = _workspace()
    dataset = import_dataset(experiment, workspace)
    captions = Counter({split: 0 for split in dataset.summary.splits})
    for record in dataset.records:
        captions[record.split] += len(record.captions)
    _print_import(dataset.summary, captions, experiment, workspace, card=DATASETS.get(name))


@data_app.command()
def audit(name: Name, config: Config = None, set_: Set = None, debug: Debug = False) -> None:
    """Leaks between splits, near-duplicates, repeated captions, missing files; writes the leak-free test list."""
    experiment, workspace = _open(config, set_)
    from conical.cli.progress_line import ProgressLine
    from conical.library.auditing import audit_dataset
    from conical.reports.data_looks.audit_table import audit_table

    with ProgressLine(console) as line:
        found = audit_dataset(workspace, name, experiment, line)
    unchecked = () if found.is_complete else ("near-duplicate",)
    console.print(audit_table(found.counts, title=f"Audit of {found.folder}", unchecked=unchecked))
    for note in found.notes:
        console.print(f"- {note}", highlight=False, markup=False)
    free = found.leak_free
    console.print(
        f"leak-free: {len(free.video_ids):,} of {free.num_test:,} test videos (ids {free.ids_hash}): "
        f"{'; '.join(free.rules)}",
        highlight=False,
        markup=False,
    )
    console.print(f"findings -> {found.findings_path}", highlight=False, markup=False)
    console.print(f"leak-free -> {found.leak_free_path}", highlight=False, markup=False)


@data_app.command()
def show(
    name: Name,
    video: Annotated[str, typer.Argument(help="Id of the video.")],
    out: Annotated[Path | None, typer.Option(help="The PNG; without it in the dataset's folder.")] = None,
    config: Config = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """A contact sheet of one video: frames with index and time, captions, supplements."""
    experiment, workspace = _open(config, set_)
    from conical.library.sheets import show_video

    shown = show_video(workspace, name, video, experiment, out=out)
    console.print(str(shown.path), highlight=False, markup=False)
    if shown.undrawable:
        errors.print(
            f"no installed font has {len(shown.undrawable)} of the characters ({shown.undrawable[:20]}); a box stands "
            "for each: install a font for them, such as Noto Sans CJK",
            highlight=False,
            markup=False,
        )


@data_app.command()
def stats(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="Folder of the figures; without it in the dataset's.")] = None,
    config: Config = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Counts by split, and how captions, durations and file sizes are distributed, as a table and a figure."""
    experiment, workspace = _open(config, set_)
    from conical.library.counting import dataset_statistics
    from conical.reports.data_looks.dataset_figures import counts_table, distributions_table

    found = dataset_statistics(workspace, name, experiment, out=out)
    rows = {split: dataclasses.asdict(counts) for split, counts in found.splits.items()}
    console.print(counts_table(rows, title=found.folder))
    console.print(distributions_table(found.distributions))
    for note in found.notes:
        console.print(f"- {note}", highlight=False, markup=False)
    for path in found.figures:
        console.print(f"figure -> {path}", highlight=False, markup=False)


def pairs(options: list[str]) -> dict[str, str]:
    """What `--option KEY=VALUE` says.

    Raises:
        ConfigError: one of them is no pair.
    """
    found = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise ConfigError(f"--option takes KEY=VALUE, got {option!r}: for example --option split=1k-A")
        found[key] = value
    return found


def _open(config: Path | None, overrides: list[str] | None) -> tuple[Experiment, Workspace]:
    from conical.config import load_experiment

    return load_experiment(config, overrides or []), _workspace()


def _workspace() -> Workspace:
    from conical.store import Workspace

    workspace = Workspace.open()
    divert_chatter(workspace.logs / "libraries.log")
    return workspace


def _print_import(
    summary: DatasetSummary,
    captions: Mapping[str, int],
    experiment: Experiment,
    workspace: Workspace,
    *,
    card: object,
) -> None:
    """Counts a split, what was asserted, what is missing, and the lines for a config."""
    from rich.table import Table

    from conical.datasets import DatasetCard, missing_sentence

    title = f"{summary.name} {summary.variant}".strip()
    table = Table(title=f"{title}: {summary.num_captions:,} captions", title_justify="left")
    table.add_column("Split")
    for heading in ("Videos expected", "with a file", "missing", "Captions"):
        table.add_column(heading, justify="right")
    for split, count in summary.splits.items():
        table.add_row(
            split,
            f"{count.expected:,}",
            f"{count.found:,}",
            f"{count.expected - count.found:,}",
            f"{captions[split]:,}",
        )
    console.print(table)
    asserted = card.lists.get(summary.variant, {}) if isinstance(card, DatasetCard) else {}
    for list_name, wanted in asserted.items():
        whose = "held out by us, fixed" if wanted.is_ours else "as published"
        how = f"{whose}, ids {wanted.ids_hash}" if wanted.ids_hash else f"{whose}, ids not known to us"
        console.print(f"list {list_name}: {wanted.count:,} videos, {how}", highlight=False)
    console.print(
        f"captions: {summary.num_blank_captions:,} blank ones left out, "
        f"{summary.num_duplicate_captions:,} repeat one of the same video (kept)",
        highlight=False,
    )
    for note in summary.notes:
        console.print(note, highlight=False, markup=False)
    if summary.is_partial:
        console.print("[yellow]partial:[/] ", end="")
        console.print(missing_sentence(summary), highlight=False, markup=False)
    console.print(f"manifest -> {workspace.manifest(experiment.dataset.folder)}", highlight=False, markup=False)
    console.print("in a config file:", highlight=False)
    console.print(_config_lines(experiment), highlight=False, markup=False, soft_wrap=True)


def _config_lines(experiment: Experiment) -> str:
    import tomli_w

    from conical.config import Experiment

    options = experiment.dataset
    whole = "msrvtt" if options.name == "msrvtt" else "manifest"
    advice = (
        f"# other tables: copy those of jobs/configs/{whole}-vitb32-ceo.toml;\n"
        f"# without them the demo's small model and its frames of {Experiment().frames.size} px are used"
    )
    lines = {"name": options.name, "root": options.root, "allow_missing": options.allow_missing}
    table = tomli_w.dumps({"dataset": lines | ({"reader": options.reader} if options.reader else {})}).rstrip()
    return f"{table}\n{advice}"

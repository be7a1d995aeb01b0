"""`conical list`: the cards of what can be chosen, and the runs of a workspace; loads neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from conical.cli.common import Debug, console
from conical.core.errors import ConfigError
from conical.core.options import did_you_mean

_WIDTH = 80
_KEY_LETTERS = 8


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """What is printed.

    Args:
        header: heading of each column; the first names the line and is never broken.
        body: cells, line by line.
    """

    header: Sequence[str]
    body: Sequence[Sequence[str]]
    note: str = ""


def _datasets() -> _Listing:
    from conical.datasets import DATASETS

    return _Listing(
        header=("name", "what it is", "source", "licence"),
        body=[(name, card.description, card.source, card.licence) for name, card in DATASETS.items()],
        note="dataset.name, or package.module:CARD; see docs/adding_a_dataset.md",
    )


def _models() -> _Listing:
    from conical.models import MODELS

    return _Listing(
        header=("name", "frames", "source", "licence"),
        body=[
            (name, f"{card.image_size_px} x {card.image_size_px} px", card.source, card.licence)
            for name, card in MODELS.items()
        ],
        note="model.name, or any model name of open_clip, or the path of a model-config JSON",
    )


def _captioners() -> _Listing:
    from conical.captioning import CAPTIONERS

    return _Listing(
        header=("name", "what it is", "source", "licence"),
        body=[(name, card.summary, card.source, card.licence) for name, card in CAPTIONERS.items()],
        note="captions.captioner, or package.module:Class; see docs/adding_a_captioner.md",
    )


def _prompts() -> _Listing:
    from conical.captioning import PROMPTS

    return _Listing(
        header=("id", "version", "reads the human caption", "text"),
        body=[
            (name, str(prompt.version), "yes" if prompt.reads_human_caption else "no", prompt.text)
            for name, prompt in PROMPTS.items()
        ],
        note="captions.prompts, with further ones in captions.custom_prompts",
    )


def _losses() -> _Listing:
    from conical.losses import LOSSES

    return _Listing(
        header=("name", "title", "what it does", "terms", "source"),
        body=[(name, card.title, card.summary, ", ".join(card.terms), card.source) for name, card in LOSSES.items()],
        note="loss.name, or package.module:CARD; see docs/adding_a_loss.md",
    )


def _extras() -> _Listing:
    from conical.losses import EXTRAS

    return _Listing(
        header=("name", "what it does", "source"),
        body=[(name, card.summary, card.source) for name, card in EXTRAS.items()],
        note="loss.extra, a weight for each: --set loss.extra.decorrelation=0.001",
    )


def _heads() -> _Listing:
    from conical.models import HEADS

    return _Listing(
        header=("name", "what it does", "one vector per clip", "source"),
        body=[(name, card.summary, "yes" if card.is_indexable else "no", card.source) for name, card in HEADS.items()],
        note="model.head, or package.module:CARD; see docs/adding_a_head.md",
    )


def _runs() -> _Listing:
    from conical.metrics import readable
    from conical.store import Workspace, list_runs

    workspace = Workspace.open()
    found = [run for folder in sorted(workspace.experiment("").glob("*")) for run in list_runs(folder)]
    records = [(run.path.parent.parent.name, run.read()) for run in found]
    counted = f"{len(records)} run{'' if len(records) == 1 else 's'}"
    return _Listing(
        header=("key", "label", "status", "seed", "best", "by", "experiment"),
        body=[
            (
                record.key[:_KEY_LETTERS],
                record.label,
                record.status,
                str(record.seed),
                "–" if record.val_value is None else f"{record.val_value:.1f}",
                readable(record.config["select_by"]),
                experiment,
            )
            for experiment, record in records
        ],
        note=f"{counted} in {workspace.root}; best is the value of the metric that chose the epoch",
    )


LISTINGS: dict[str, Callable[[], _Listing]] = {
    "datasets": _datasets,
    "models": _models,
    "captioners": _captioners,
    "prompts": _prompts,
    "losses": _losses,
    "extras": _extras,
    "heads": _heads,
    "runs": _runs,
}


def list_(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(LISTINGS)}.")],
    debug: Debug = False,
) -> None:
    """What can be chosen (datasets, models, captioners, prompts, losses, extras, heads), or what runs there are."""
    if what not in LISTINGS:
        raise ConfigError(f"list takes one of {', '.join(LISTINGS)}; got {what!r}.{did_you_mean(what, LISTINGS)}")
    listing = LISTINGS[what]()
    console.print(_table(listing.header, listing.body))
    console.print(listing.note, highlight=False, markup=False)


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> Table:
    """At most 80 columns wide, whatever is in it; users' text is no markup."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=min(console.width, _WIDTH))
    for column, heading in enumerate(header):
        table.add_column(Text(heading), style="bold" if column == 0 else "", no_wrap=column == 0, overflow="fold")
    for line in body:
        table.add_row(*(Text(cell) for cell in line))
    return table

"""Counts and distributions of a dataset of the workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conical.config import Experiment
from conical.core.atomic import atomic_path
from conical.core.errors import DataError, StoreError
from conical.core.records import SPLITS, VideoRecord
from conical.datasets import confined_path
from conical.datasets.checks.distributions import Distribution, caption_distributions, distribution, stated_seconds
from conical.library.opening import DatasetView, open_dataset
from conical.models.text_reader import build_text_reader
from conical.reports.data_looks.dataset_figures import distributions_drawing
from conical.store import Workspace
from conical.store.frames.facts import FrameFacts, read_frame_facts

_KILO = 1e3


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Counts of one split.

    Args:
        files: of these, with a file.
        frames: of these, with frames of the store that was looked at.
        captions: of all of its videos.
        sources: different sources that are named.
    """

    videos: int
    files: int
    frames: int
    captions: int
    sources: int


@dataclass(frozen=True, kw_only=True)
class DatasetStatistics:
    """What a dataset holds.

    Args:
        folder: its name in the workspace.
        splits: counts by split, and under `all` those of the dataset.
        distributions: of captions, durations and file sizes, where known.
        notes: sentences for the user.
        figures: PNG and SVG of the distributions.
    """

    folder: str
    splits: Mapping[str, SplitCounts]
    distributions: tuple[Distribution, ...] = field(repr=False)
    notes: tuple[str, ...]
    figures: tuple[Path, ...]


def dataset_statistics(
    workspace: Workspace, name: str, experiment: Experiment, *, out: Path | None = None
) -> DatasetStatistics:
    """Count a dataset and draw its distributions.

    Args:
        name: of the dataset, or enough of the beginning.
        experiment: whose frames are preferred, and whose model counts tokens.
        out: folder of the figures; None: `stats` in the dataset's folder.

    Returns:
        Counts, distributions, where the figures are.

    Raises:
        DataError: no such dataset, or it is empty.
        StoreError: what is there cannot be read, or the figures not be written.
        ConfigError: the model is unknown.
    """
    view = open_dataset(workspace, name, recipe_hash=experiment.frames.hash)
    if not view.records:
        raise DataError(f"dataset {view.folder!r} has no video: import it again")
    facts = {} if view.frames is None else read_frame_facts(view.frames)
    distributions = list(caption_distributions(view.records, count_tokens=build_text_reader(experiment.model).count))
    distributions += [one for one in (_durations(view, facts), _file_sizes(view)) if one is not None]
    drawing = distributions_drawing(distributions, dataset=view.folder)
    folder = out or workspace.dataset(view.folder) / "stats"
    figures = (folder / f"{drawing.name}.png", folder / f"{drawing.name}.svg")
    for path, content in zip(figures, (drawing.png, drawing.svg), strict=True):
        _write(path, content)
    return DatasetStatistics(
        folder=view.folder,
        splits={
            **{split: counts for split in SPLITS if (counts := _counts(view, (split,), facts)).videos},
            "all": _counts(view, SPLITS, facts),
        },
        distributions=tuple(distributions),
        notes=_notes(view, facts),
        figures=figures,
    )


def _counts(view: DatasetView, splits: Collection[str], facts: Mapping[str, FrameFacts]) -> SplitCounts:
    records = [record for record in view.records if record.split in splits]
    return SplitCounts(
        videos=len(records),
        files=sum(bool(record.uri) for record in records),
        frames=sum(record.video_id in facts for record in records),
        captions=sum(len(record.captions) for record in records),
        sources=len({record.source_id for record in records if record.source_id}),
    )


def _durations(view: DatasetView, facts: Mapping[str, FrameFacts]) -> Distribution | None:
    """As the annotations say; for a dataset that does not, as the sampled frames show."""
    if any(stated_seconds(record) is not None for record in view.records):

        def measure(record: VideoRecord) -> list[float]:
            seconds = stated_seconds(record)
            return [] if seconds is None else [seconds]

        return distribution(view.records, measure, name="duration, as annotated", unit="s")
    return distribution(
        view.records,
        lambda record: [facts[record.video_id].span_seconds] if record.video_id in facts else [],
        name="first to last sampled frame",
        unit="s",
    )


def _file_sizes(view: DatasetView) -> Distribution | None:
    root = view.root

    def measure(record: VideoRecord) -> list[float]:
        path = confined_path(root, record.uri) if record.uri else None
        # folders of images and members of tar files have no size of their own
        return [path.stat().st_size / _KILO] if path is not None and path.is_file() else []

    return distribution(view.records, measure, name="file size", unit="kB")


def _notes(view: DatasetView, facts: Mapping[str, FrameFacts]) -> tuple[str, ...]:
    notes = []
    suffixes = Counter(Path(record.uri).suffix.lower() or "folder" for record in view.records if record.uri)
    if suffixes:
        notes.append(f"files: {_listed(suffixes)}")
    if view.frames is None:
        notes.append("no frames yet: run conical ingest")
    else:
        decoders = Counter(one.decoder for one in facts.values())
        padded = sum(one.is_padded for one in facts.values())
        size, number = view.frames.recipe.get("size"), view.frames.recipe.get("num_frames")
        notes.append(
            f"frames of recipe {view.frames.recipe_hash}: {number} a video, {size} px, decoded by {_listed(decoders)}; "
            f"{padded:,} videos have fewer and repeat their last"
        )
        failed = Counter(failure.kind for failure in view.frames.failures())
        if failed:
            notes.append(f"set aside by ingest: {_listed(failed)}")
    summary = view.book.summary
    notes.append(
        f"captions: {summary.num_blank_captions:,} blank ones were left out by the import, "
        f"{summary.num_duplicate_captions:,} repeat one of the same video"
    )
    return tuple(notes)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in counts.most_common()) or "none"


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}): choose another folder with --out") from error

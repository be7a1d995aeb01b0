"""Bring a dataset into the workspace: its own files are read and checked, and the manifest is written."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from conical import datasets
from conical.config import Experiment
from conical.core.hashing import file_fingerprint
from conical.core.progress import Activity, Progress, Report, no_report
from conical.core.records import DatasetSummary, VideoRecord
from conical.datasets.checks.same_content import same_content
from conical.datasets.options import DatasetOptions
from conical.datasets.scenes.generate import generate_scenes
from conical.store import DatasetBook, Workspace, manifest_hash, read_manifest, write_dataset_book, write_manifest

Read: TypeAlias = Callable[[DatasetOptions, Path], tuple[list[VideoRecord], DatasetSummary]]


@dataclass(frozen=True, kw_only=True)
class ImportedDataset:
    """A dataset as its files say it is now.

    Args:
        summary: what the import counted.
        root: folder that the manifest's addresses are relative to.
    """

    records: list[VideoRecord] = field(repr=False)
    summary: DatasetSummary
    root: Path


def import_dataset(
    experiment: Experiment, workspace: Workspace, report: Report = no_report, *, read: Read | None = None
) -> ImportedDataset:
    """Read the dataset's own files into the manifest; `scenes` is generated first if absent.

    Args:
        read: gives records and counts of a root; None: the dataset's card.

    Raises:
        DataError: files are missing or contradict themselves.
    """
    options = experiment.dataset
    root = dataset_root(experiment, workspace)
    if options.name == "scenes":
        generate_scenes(
            root,
            options.scenes,
            num_processes=os.cpu_count() or 1,
            report=lambda done, total: report(
                Progress(stage="scenes", done=done, total=total, unit="videos generated")
            ),
        )
    report(Activity(stage="dataset", doing="reading annotations, looking for files"))
    records, summary = (read or _read_by_card)(options, root)
    shared = tuple(f"{found.sentence}." for found in same_content(records, files=_alike(records, root)))
    summary = replace(summary, notes=(*summary.notes, *shared))
    manifest = workspace.manifest(options.folder)
    content = manifest_hash(records)
    if not manifest.is_file() or manifest_hash(read_manifest(manifest)) != content:
        write_manifest(manifest, records)
    book = DatasetBook(summary=summary, root=str(root), reader=options.reader, manifest_hash=content)
    write_dataset_book(workspace.dataset_book(options.folder), book)
    return ImportedDataset(records=records, summary=summary, root=root)


def dataset_root(experiment: Experiment, workspace: Workspace) -> Path:
    """Folder that the manifest's relative addresses start from."""
    if experiment.dataset.root:
        return Path(experiment.dataset.root).expanduser().absolute()
    return workspace.dataset(experiment.dataset.folder) / "source"


def _read_by_card(options: DatasetOptions, root: Path) -> tuple[list[VideoRecord], DatasetSummary]:
    return datasets.read_dataset(options.name, root, allow_missing=options.allow_missing, **options.reader)


def _alike(records: Sequence[VideoRecord], root: Path) -> dict[str, str]:
    """Video id to a hash of the file's bytes, of files whose size a file of another split has too: few are read."""
    by_size: dict[int, list[VideoRecord]] = defaultdict(list)
    for record in records:
        path = root / record.uri
        size = path.stat().st_size if record.uri and path.is_file() else 0
        by_size[size].append(record)
    by_size.pop(0, None)  # no file, a folder, or an empty file, which is no video
    return {
        record.video_id: file_fingerprint(root / record.uri)
        for alike in by_size.values()
        if len({record.split for record in alike}) > 1
        for record in alike
    }

"""Bring a dataset into the workspace: its own files are read and checked, and the manifest is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from conical import datasets
from conical.config import Experiment
from conical.core.progress import Progress, Report, no_report
from conical.core.records import DatasetSummary, VideoRecord
from conical.datasets.scenes.generate import generate_scenes
from conical.store import DatasetBook, Workspace, manifest_hash, read_manifest, write_dataset_book, write_manifest


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


def import_dataset(experiment: Experiment, workspace: Workspace, report: Report = no_report) -> ImportedDataset:
    """Read the dataset's own files into the manifest; `scenes` is generated first if absent.

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
                Progress(stage="scenes", done=done, total=total, unit="videos", note="generated")
            ),
        )
    records, summary = datasets.read_dataset(options.name, root, allow_missing=options.allow_missing, **options.reader)
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

"""Audit a dataset of the workspace, with its frames if it was ingested, and keep what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conical.config import Experiment
from conical.core.findings import HELD_OUT_FIRST, Finding, KindCount
from conical.core.progress import Progress, Report, no_report
from conical.core.records import SPLITS
from conical.datasets.checks.audit import audit_records, count_findings, leak_free_ids
from conical.datasets.checks.frame_hash import frame_signatures
from conical.datasets.checks.leaks import SOURCE_START
from conical.datasets.checks.near_duplicates import SignedVideo, find_near_duplicates
from conical.library.opening import DatasetView, open_dataset
from conical.models.text_reader import build_text_reader
from conical.store import Workspace, manifest_hash
from conical.store.audits import LeakFree, write_findings, write_leak_free


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The outcome of an audit.

    Args:
        folder: name of the dataset in the workspace.
        counts: what was found, by kind; every kind once.
        leak_free: the test videos that nothing ties to train or val.
        is_complete: whether frames were compared; else near-duplicates are unknown.
        notes: sentences for the user.
        findings_path: Parquet of the findings.
        leak_free_path: Parquet of the test videos.
    """

    folder: str
    counts: tuple[KindCount, ...] = field(repr=False)
    leak_free: LeakFree
    is_complete: bool
    notes: tuple[str, ...]
    findings_path: Path
    leak_free_path: Path


def audit_dataset(workspace: Workspace, name: str, experiment: Experiment, report: Report = no_report) -> Audit:
    """Look for leaks between splits and for what is missing, and write both lists.

    Args:
        name: of the dataset, or enough of the beginning.
        experiment: whose frames are preferred, and whose model counts tokens.
        report: told of frames read and compared.

    Returns:
        Counts, the leak-free list, and where both are.

    Raises:
        DataError: none or several datasets fit the name, or the manifest contradicts itself.
        StoreError: the manifest or the frames cannot be read, or the lists not be written.
        ConfigError: the model is unknown.
    """
    view = open_dataset(workspace, name, recipe_hash=experiment.frames.hash)
    files = {} if view.frames is None else view.frames.fingerprints()
    reader = build_text_reader(experiment.model)
    findings = audit_records(
        view.records,
        # a fingerprint ends with the window where the clip is a part of the file
        files={video_id: mark.partition("@")[0] for video_id, mark in files.items()},
        failures=() if view.frames is None else view.frames.failures(),
        count_tokens=reader.count,
        token_limit=reader.limit,
    )
    duplicates, compared = _near_duplicates(view, report)
    findings += duplicates
    leak_free = LeakFree(
        video_ids=leak_free_ids(view.records, findings),
        num_test=sum(record.split == "test" for record in view.records),
        rules=_rules(view, compared),
        manifest_hash=manifest_hash(view.records),
    )
    folder = workspace.audit(view.folder)
    return Audit(
        folder=view.folder,
        counts=count_findings(findings),
        leak_free=leak_free,
        is_complete=bool(compared),
        notes=_notes(view, compared),
        findings_path=write_findings(folder, findings),
        leak_free_path=write_leak_free(folder, leak_free),
    )


def _near_duplicates(view: DatasetView, report: Report) -> tuple[list[Finding], str]:
    """The findings, and which videos were compared in words; "" where frames are missing for a comparison."""
    store = view.frames
    known = frozenset[str]() if store is None else store.video_ids()
    records = [record for record in view.records if record.video_id in known]
    splits = {record.split for record in records}
    furthest = next((split for split in HELD_OUT_FIRST if any(record.split == split for record in view.records)), "")
    if store is None or furthest not in splits or len(splits) < 2:
        return [], ""
    videos: list[SignedVideo] = []
    report(Progress(stage="audit: frames", done=0, total=len(records), unit="videos"))
    for number, record in enumerate(records, start=1):
        signatures = frame_signatures(store.read(record.video_id).frames)
        videos.append(SignedVideo(video_id=record.video_id, split=record.split, signatures=signatures))
        report(Progress(stage="audit: frames", done=number, total=len(records), unit="videos"))
    findings = find_near_duplicates(
        videos,
        report=lambda done, total: report(
            Progress(stage="audit: compare", done=done / 1e6, total=total / 1e6, unit="million pairs")
        ),
    )
    return findings, f"frames of {_coverage(view, records)} compared"


def _coverage(view: DatasetView, compared: Sequence[object]) -> str:
    total = len(view.records)
    return f"all {total:,} videos" if len(compared) == total else f"{len(compared):,} of {total:,} videos"


def _rules(view: DatasetView, compared: str) -> tuple[str, ...]:
    """What a leak-free video was asked; a rule that nothing could break is not among them."""
    others = " or ".join(split for split in ("train", "val") if any(record.split == split for record in view.records))
    if not others:
        return ()
    named = [record for record in view.records if record.source_id]
    placed = [record for record in view.records if record.uri or SOURCE_START in record.extra]
    rules = []
    if named:
        rules.append(f"no source in common with {others} (named by {_coverage(view, named)})")
    if placed:
        rules.append(f"no seconds of a source or file in common with {others} (known of {_coverage(view, placed)})")
    if compared:
        rules.append(f"no near-duplicate in {others} ({compared})")
    return tuple(rules)


def _notes(view: DatasetView, compared: str) -> tuple[str, ...]:
    notes = []
    if not compared:
        notes.append("near-duplicates were not looked for: no frames to compare; run conical ingest, then audit again")
    elif not compared.startswith("frames of all"):
        notes.append(f"near-duplicates: {compared}; the others have no frames")
    empty = [split for split in SPLITS if not any(record.split == split for record in view.records)]
    if empty:
        notes.append(f"the dataset has no {' and no '.join(empty)} split")
    if all(not record.source_id for record in view.records):
        notes.append("the dataset names no sources (source_id): videos were compared by their files only")
    summary = view.book.summary
    notes.append(
        f"captions: {summary.num_captions:,}; {summary.num_blank_captions:,} blank ones were left out by the "
        f"import, {summary.num_duplicate_captions:,} repeat one of the same video"
    )
    return tuple(notes)

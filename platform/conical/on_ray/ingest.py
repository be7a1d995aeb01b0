"""Videos to stored frames, on a pool of actors.

    1. changed   frames whose clip is another by now are dropped; a file at another address is hashed to tell
    2. units     chunks of the complete list sorted by id, so that a re-run has the very same units
    3. actor     decodes what a unit lacks in a child process, writes one part and the unit's failures itself
    4. driver    receives counts only: no frame travels through the object store

Everything is written whole or not at all, so a run that is killed at any point is finished by running it again.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from conical.config import Experiment
from conical.core.hashing import stable_hash
from conical.core.options import require
from conical.core.progress import Activity, Progress, Report, no_report
from conical.core.records import Failure, VideoRecord
from conical.datasets import confined_path
from conical.library.clips import Clip, window_of
from conical.library.importing import ImportedDataset, import_dataset
from conical.on_ray.ingest_worker import IngestWorker, as_unit
from conical.on_ray.pool import Unit, run_units
from conical.on_ray.session import connect as connect_to_ray
from conical.store import FrameStore, Workspace, read_addresses, write_addresses
from conical.video import FrameRecipe


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """What an ingest did: `ok + failed + skipped` are all videos.

    Args:
        ok: videos decoded by this run.
        failed: videos set aside by this run.
        skipped: videos that an earlier run had decoded or set aside.
        changed: ids; of `ok` and `failed` those that had frames of another file or window, which were dropped.
        gone: ids; of `skipped` those that have frames, but no file that can be read any more: of all with `verify`,
            else of those whose address is another by now.
        padded: videos with fewer frames than the recipe asks for, those of earlier runs included.
        failures: all videos that are set aside now, those of earlier runs included.
    """

    ok: int
    failed: int
    skipped: int
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    padded: int
    seconds: float
    failures: tuple[Failure, ...] = field(repr=False)

    @property
    def failures_by_kind(self) -> dict[str, int]:
        """How many are set aside, by kind."""
        return dict(sorted(Counter(failure.kind for failure in self.failures).items()))


def ingest(
    experiment: Experiment,
    workspace: Workspace,
    report: Report = no_report,
    *,
    dataset: ImportedDataset | None = None,
    recipe: FrameRecipe | None = None,
    stage: str = "ingest",
    verify: bool = False,
    retry_failed: bool = False,
) -> IngestSummary:
    """Decode the frames of every video that has none yet.

    Args:
        experiment: names the dataset and, unless `recipe` is given, the frame recipe.
        workspace: where the frames go.
        report: told after each chunk of videos.
        dataset: the dataset, if this command has imported it already.
        recipe: another recipe, such as the captioner's.
        stage: what progress is called.
        verify: hash the files of all videos that have frames, and decode anew what has changed.
        retry_failed: try all videos again that were set aside.

    Raises:
        UserError: as `import_dataset` and `run_ingest`.
    """
    dataset = dataset or import_dataset(experiment, workspace, report)
    recipe = recipe or experiment.frames
    store = FrameStore(
        workspace.frames(experiment.dataset.folder, recipe.hash),
        recipe=dataclasses.asdict(recipe),
        recipe_hash=recipe.hash,
    )
    return run_ingest(
        dataset.records,
        root=dataset.root,
        recipe=recipe,
        store=store,
        deadline_seconds=experiment.ray.decode_deadline_seconds,
        connect=partial(connect_to_ray, workspace.logs, report),
        verify=verify,
        retry_failed=retry_failed,
        report=report,
        stage=stage,
    )


def run_ingest(
    records: Sequence[VideoRecord],
    *,
    root: str | Path,
    recipe: FrameRecipe,
    store: FrameStore,
    batch_size: int = 8,
    deadline_seconds: float = 60.0,
    num_workers: int | None = None,
    retry_failed: bool = False,
    verify: bool = False,
    connect: Callable[[], None] | None = None,
    report: Report = no_report,
    stage: str = "ingest",
) -> IngestSummary:
    """Decode the frames of every video that has none and was not set aside.

    A video that was set aside is tried again when its file has changed. A video that has frames is decoded again when
    its window in the file has changed, when its address has changed and other bytes are there, and, with `verify`,
    when the file has.

    Args:
        records: the complete list of videos; a part of it would form other units.
        root: folder that their addresses are relative to and may not leave.
        recipe: how frames are sampled; the one of `store`.
        store: where frames and failures go, on a path that all machines see.
        batch_size: videos per unit, >= 1: what an actor holds, writes at once and may lose.
        deadline_seconds: time that one video may take, as `DecodeProcess`.
        num_workers: actors, one core each; None: as many as the cluster has cores.
        retry_failed: try all that were set aside again.
        verify: hash the files of all videos that have frames.
        connect: called before Ray is first needed; None: Ray is running.
        report: told of the videos done as units finish; those of earlier runs count as done.
        stage: what progress is called.

    Returns:
        Counts, and which videos are worth a look.

    Raises:
        DataError: an address leaves the root.
        StoreError: the store cannot be read or written.
        ClusterError: an actor dies again and again; finished units are kept.
    """
    require(batch_size >= 1, f"batch_size must be >= 1, got {batch_size}")
    assert store.recipe_hash == recipe.hash, (store.recipe_hash, recipe.hash)
    started = time.monotonic()
    for record in records:
        if record.uri:
            confined_path(root, record.uri)
    clips = {record.video_id: Clip.of(record) for record in records}
    store.settle()
    changed, gone = _changed(clips, str(root), store, verify=verify, report=report)
    store.drop(changed)
    _remember_addresses(clips, store, gone=gone)
    to_do = _missing(clips, str(root), store, retry_failed=retry_failed)
    counts = Counter({"ok": 0, "failed": _set_aside_absent(clips, to_do, store, root=root)})
    units = _units(clips, to_do, batch_size=batch_size)
    tell = _Teller(
        report=report,
        stage=stage,
        num_done=len(clips) - len(to_do),
        num_failed=len((store.failed_fingerprints().keys() & clips.keys()) - to_do),
        total=len(clips),
    )
    tell(counts)
    if units:
        if connect is not None:
            connect()
        arguments = {"root": str(root), "recipe": recipe, "store": store, "deadline_seconds": deadline_seconds}
        report(Activity(stage=stage, doing="starting workers"))
        results = run_units(
            IngestWorker,
            units,
            arguments=arguments,
            stage=stage,
            lower="frames.size or frames.num_frames",
            run=store.path.parent.parent.name,
            max_actors=num_workers,
            report=report,
        )
        for result in results:
            counts.update(result)
            tell(counts)
    store.settle()
    failures = tuple(failure for failure in store.failures() if failure.video_id in clips)
    assert counts.total() == len(to_do), (counts, len(to_do))
    assert len(store.video_ids() & clips.keys()) + len(failures) == len(records)
    return IngestSummary(
        **counts,
        skipped=len(records) - len(to_do),
        changed=tuple(sorted(changed)),
        gone=tuple(sorted(gone)),
        padded=len(store.padded() & clips.keys()),
        seconds=time.monotonic() - started,
        failures=failures,
    )


@dataclass(frozen=True, kw_only=True)
class _Teller:
    """Says how far an ingest is; `num_done` and `num_failed` of it are of earlier runs."""

    report: Report
    stage: str
    num_done: int
    num_failed: int
    total: int

    def __call__(self, counts: Mapping[str, int]) -> None:
        done = self.num_done + counts["ok"] + counts["failed"]
        failed = self.num_failed + counts["failed"]
        self.report(
            Progress(
                stage=self.stage,
                done=done,
                total=self.total,
                unit="videos",
                note=f"{failed} failed" if failed else "",
                advice="conical status says why" if failed else "",
            )
        )


def _changed(
    clips: Mapping[str, Clip], root: str, store: FrameStore, *, verify: bool, report: Report
) -> tuple[set[str], set[str]]:
    """Videos whose frames are of another clip by now, and those whose file is gone.

    Args:
        clips: all videos by id.
        root: folder of their files.
        verify: hash all files, not only those at another address than the frames were read from.
        report: told of the files that were hashed.
    """
    stored = {video_id: mark for video_id, mark in store.fingerprints().items() if video_id in clips}
    changed = {video_id for video_id, mark in stored.items() if window_of(mark) != clips[video_id].window}
    gone: set[str] = set()
    read_from = read_addresses(store)
    # an unknown address counts as another one; equal bytes are remembered, so data that moves is hashed once
    suspects = [video_id for video_id in stored if verify or read_from.get(video_id) != clips[video_id].uri]
    # hashing lets other threads run
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        marks = pool.map(lambda video_id: clips[video_id].fingerprint(root), suspects)
        if suspects:
            report(Progress(stage="verify", done=0, total=len(suspects), unit="files"))
        for number, (video_id, mark) in enumerate(zip(suspects, marks, strict=True), start=1):
            report(Progress(stage="verify", done=number, total=len(suspects), unit="files"))
            if not mark:
                gone.add(video_id)
            elif mark != stored[video_id]:
                changed.add(video_id)
    return changed - gone, gone


def _remember_addresses(clips: Mapping[str, Clip], store: FrameStore, *, gone: Collection[str]) -> None:
    """Note where the frames that stay are, and where the others will be read; frames whose file is gone keep theirs."""
    before = read_addresses(store)
    after = before | {clip.video_id: clip.uri for clip in clips.values() if clip.uri and clip.video_id not in gone}
    if after != before:
        write_addresses(store, after)


def _missing(clips: Mapping[str, Clip], root: str, store: FrameStore, *, retry_failed: bool) -> set[str]:
    """Videos to decode: those without a result, and the failures worth another try."""
    failed = store.failed_fingerprints()
    again = {
        video_id
        for video_id in failed.keys() & clips.keys()
        if retry_failed or clips[video_id].fingerprint(root) != failed[video_id]
    }
    return (clips.keys() - store.video_ids() - failed.keys()) | again


def _set_aside_absent(clips: Mapping[str, Clip], to_do: Collection[str], store: FrameStore, *, root: str | Path) -> int:
    """Videos for which the import found no file need no decoder to say so; returns how many."""
    absent = [clips[video_id] for video_id in sorted(to_do) if not clips[video_id].uri]
    if absent:
        message = f"no file was found for it under {root}: get it, and import the dataset again"
        store.write_failures("absent", [clip.failure("missing", f"{clip.video_id}: {message}") for clip in absent])
    return len(absent)


def _units(clips: Mapping[str, Clip], to_do: Collection[str], *, batch_size: int) -> list[Unit]:
    """The units that lack something."""
    ordered = sorted(clips)
    units = []
    for number, start in enumerate(range(0, len(ordered), batch_size)):
        chunk = ordered[start : start + batch_size]
        wanted = [clips[video_id] for video_id in chunk if video_id in to_do and clips[video_id].uri]
        if wanted:
            units.append(as_unit(f"{number:05d}-{stable_hash(chunk, length=8)}", wanted))
    return units

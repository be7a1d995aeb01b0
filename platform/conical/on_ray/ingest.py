"""Videos to stored frames, on a pool of actors.

    1. units     chunks of the complete list sorted by id, so that a re-run has the very same units
    2. actor     decodes what a unit lacks in a child process, writes one part and the unit's failures itself
    3. driver    receives counts only: no frame travels through the object store

Everything is written whole or not at all, so a run that is killed at any point is finished by running it again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from conical.core.errors import ClusterError, DecodeError, StoreError
from conical.core.hashing import file_fingerprint, stable_hash
from conical.core.options import require
from conical.core.records import Failure, VideoRecord
from conical.datasets import confined_path
from conical.on_ray.session import silence_data_bars
from conical.store import FrameRow, FrameStore
from conical.video import DecodeProcess, FrameRecipe

# The decoder's own death is survived by its actor; an actor that dies this often on one unit ends the job.
_ATTEMPTS_A_UNIT = 5


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """What an ingest did: `ok + failed + skipped` are all videos.

    Args:
        ok: videos decoded by this run.
        failed: videos set aside by this run.
        skipped: videos that an earlier run had decoded or set aside.
        seconds: wall time.
        failures_by_kind: all videos that are set aside now, those of earlier runs included, by kind.
    """

    ok: int
    failed: int
    skipped: int
    seconds: float
    failures_by_kind: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What an actor must know of a video."""

    video_id: str
    uri: str
    start_seconds: float
    end_seconds: float | None


def run_ingest(
    records: Sequence[VideoRecord],
    *,
    root: str | Path,
    recipe: FrameRecipe,
    store: FrameStore,
    batch_size: int = 16,
    deadline_seconds: float = 60.0,
    num_workers: int | None = None,
    retry_failed: bool = False,
    connect: Callable[[], None] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> IngestSummary:
    """Decode the frames of every video that has none and was not set aside.

    A video that was set aside is tried again when its file has changed.

    Args:
        records: the complete list of videos; a part of it would form other units.
        root: folder that their addresses are relative to and may not leave.
        recipe: how frames are sampled; the one of `store`.
        store: where frames and failures go, on a path that all machines see.
        batch_size: videos a unit, >= 1; an actor holds the frames of one unit.
        deadline_seconds: time that one video may take.
        num_workers: actors, one core each; None: as many as the cluster has cores.
        retry_failed: try all that were set aside again.
        connect: called before Ray is first needed; None: Ray is running.
        report: called with (videos done, videos in all) as units finish; those of earlier runs count as done.

    Returns:
        Counts.

    Raises:
        DataError: an address leaves the root.
        StoreError: the store cannot be read or written.
        ClusterError: an actor dies again and again; finished units are kept.
    """
    require(batch_size >= 1, f"batch_size must be >= 1, got {batch_size}")
    assert store.recipe_hash == recipe.hash, (store.recipe_hash, recipe.hash)
    started = time.monotonic()
    paths = {record.video_id: confined_path(root, record.uri) for record in records}
    store.settle()
    to_do = _missing(paths, store, retry_failed=retry_failed)
    units = _units(records, to_do, batch_size=batch_size)
    counts = Counter({"ok": 0, "failed": 0})
    if units:
        if connect is not None:
            connect()
        arguments = {"root": str(root), "recipe": recipe, "store": store, "deadline_seconds": deadline_seconds}
        for result in _results(units, arguments, num_workers=num_workers):
            counts.update(result)
            if report is not None:
                report(len(records) - len(to_do) + counts.total(), len(records))
    store.settle()
    failures = [failure for failure in store.failures() if failure.video_id in paths]
    assert counts.total() == len(to_do), (counts, len(to_do))
    assert len(store.video_ids() & paths.keys()) + len(failures) == len(records)
    return IngestSummary(
        **counts,
        skipped=len(records) - len(to_do),
        seconds=time.monotonic() - started,
        failures_by_kind=dict(sorted(Counter(failure.kind for failure in failures).items())),
    )


def _missing(paths: Mapping[str, Path], store: FrameStore, *, retry_failed: bool) -> set[str]:
    """Videos to decode: those without a result, and the failures worth another try."""
    failed = store.failed_fingerprints()
    again = {
        video_id
        for video_id in failed.keys() & paths.keys()
        if retry_failed or _fingerprint(paths[video_id]) != failed[video_id]
    }
    return (paths.keys() - store.video_ids() - failed.keys()) | again


def _fingerprint(path: Path) -> str:
    """Of the file's bytes; "" where no file can be read, which the decoder then says in its own words."""
    try:
        return file_fingerprint(path)
    except OSError:
        return ""


def _units(records: Sequence[VideoRecord], to_do: Collection[str], *, batch_size: int) -> list[dict[str, str]]:
    """Rows for Ray Data: name and clips of each unit that lacks something."""
    ordered = sorted(records, key=lambda record: record.video_id)
    rows = []
    for number, start in enumerate(range(0, len(ordered), batch_size)):
        chunk = ordered[start : start + batch_size]
        name = f"{number:05d}-{stable_hash([record.video_id for record in chunk], length=8)}"
        clips = [
            Clip(
                video_id=record.video_id,
                uri=record.uri,
                start_seconds=record.start_seconds,
                end_seconds=record.end_seconds,
            )
            for record in chunk
            if record.video_id in to_do
        ]
        if clips:
            rows.append({"name": name, "clips": json.dumps([asdict(clip) for clip in clips])})
    return rows


def _results(
    units: Sequence[dict[str, str]], arguments: dict[str, Any], *, num_workers: int | None
) -> Iterator[dict[str, int]]:
    """Counts of each unit as it finishes."""
    silence_data_bars()
    available = num_workers or int(ray.cluster_resources().get("CPU", 1))
    # one block a unit: a unit is the work that a death may cost, and what is handed out when an actor is free
    dataset = ray.data.from_items(list(units), override_num_blocks=len(units)).map_batches(
        IngestActor,
        batch_size=1,
        compute=ActorPoolStrategy(size=max(1, min(available, len(units))), max_tasks_in_flight_per_actor=2),
        fn_constructor_kwargs=arguments,
        num_cpus=1,
        ray_remote_args_fn=_actor_lives,
    )
    try:
        for row in dataset.iter_rows():
            if row["problem"]:
                raise StoreError(row["problem"])
            yield {"ok": int(row["ok"]), "failed": int(row["failed"])}
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise ClusterError(
            f"ingest was stopped by Ray ({reason}): see Ray's log, and run again; finished videos are kept"
        ) from error


def _actor_lives() -> dict[str, int]:
    """Start a dead actor again, but do not repeat its unit for ever."""
    return {"max_restarts": -1, "max_task_retries": _ATTEMPTS_A_UNIT - 1}


class IngestActor:
    """Decodes units; lives as long as the pool, and its decoding process with it.

    Args:
        root: folder that addresses are relative to.
        recipe: how frames are sampled.
        store: where frames and failures go.
        deadline_seconds: time that one video may take.
    """

    def __init__(self, *, root: str, recipe: FrameRecipe, store: FrameStore, deadline_seconds: float) -> None:
        self._root = root
        self._store = store
        self._process = DecodeProcess(recipe, deadline_seconds=deadline_seconds)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Decode the one unit of `batch` and store it; the answer holds its counts, or why the store refuses."""
        clips = [Clip(**clip) for clip in json.loads(str(batch["clips"][0]))]
        try:
            num_ok, num_failed = self._do_unit(str(batch["name"][0]), clips)
        except StoreError as error:
            return {"ok": [0], "failed": [0], "problem": [str(error)]}
        return {"ok": [num_ok], "failed": [num_failed], "problem": [""]}

    def close(self) -> None:
        """End the decoding process; without this it ends with the actor's own."""
        self._process.close()

    def _do_unit(self, name: str, clips: Sequence[Clip]) -> tuple[int, int]:
        # Ray repeats a unit whose actor died, maybe after its part was written
        written = self._store.video_ids()
        rows: list[FrameRow] = []
        failures: list[Failure] = []
        fingerprints: dict[str, str] = {}
        for clip in clips:
            if clip.video_id in written:
                continue
            path = confined_path(self._root, clip.uri)
            fingerprints[clip.video_id] = _fingerprint(path)
            try:
                sampled = self._process.sample(path, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)
            except DecodeError as error:
                failures.append(_failure(clip, error))
            else:
                rows.append(FrameRow(video_id=clip.video_id, fingerprint=fingerprints[clip.video_id], sampled=sampled))
        # failures first: a video without either is decoded again, one that has both is whole
        self._store.write_failures(name, failures, fingerprints)
        self._store.write_part(name, rows)
        return len(clips) - len(failures), len(failures)


def _failure(clip: Clip, error: DecodeError) -> Failure:
    return Failure(video_id=clip.video_id, uri=clip.uri, stage="ingest", kind=error.kind, message=str(error))

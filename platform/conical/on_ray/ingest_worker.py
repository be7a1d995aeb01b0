"""The worker's side of ingest: clips of a unit to stored frames or to failures that name a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from conical.core.errors import DecodeError, StoreError
from conical.core.records import Failure
from conical.datasets import confined_path
from conical.library.clips import Clip
from conical.on_ray.pool import Unit, UnitWorker
from conical.store import FrameRow, FrameStore
from conical.video import DecodeProcess, FrameRecipe, local_media

# frames that an actor holds before it writes them; a unit of large frames becomes several parts
_PART_BYTES = 256 << 20


class IngestWorker(UnitWorker):
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
        self._process.start()

    def do(self, unit: Unit) -> Mapping[str, int]:
        """Decode the clips of a unit and store their frames.

        Raises:
            StoreError: frames or failures cannot be written.
        """
        return self._do_unit(unit.name, [Clip(**clip) for clip in json.loads(unit.payload)])

    def close(self) -> None:
        """End the decoding process; without this it ends with the actor's own."""
        self._process.close()

    def _do_unit(self, name: str, clips: Sequence[Clip]) -> dict[str, int]:
        # Ray repeats a unit whose actor died, maybe after its part was written
        written = self._store.written_as(name)
        rows: list[FrameRow] = []
        failures: list[Failure] = []
        fingerprints: dict[str, str] = {}
        for clip in clips:
            if clip.video_id in written:
                continue
            fingerprints[clip.video_id] = clip.fingerprint(self._root)
            try:
                rows.append(self._decode(clip, fingerprints[clip.video_id]))
            except DecodeError as error:
                failures.append(clip.failure(error.kind, str(error)))
            if sum(row.sampled.frames.nbytes for row in rows) >= _PART_BYTES:
                self._store.write_part(name, rows)
                rows = []
        self._store.write_failures(name, failures, fingerprints)
        self._store.write_part(name, rows)
        return {"ok": len(clips) - len(failures), "failed": len(failures)}

    def _decode(self, clip: Clip, fingerprint: str) -> FrameRow:
        try:
            with local_media(confined_path(self._root, clip.uri)) as path:
                sampled = self._process.sample(path, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)
        except OSError as error:
            # the decoder names what is wrong with a file; this is a full disk, or a tar file on one that went away
            raise StoreError(
                f"{clip.uri} cannot be copied for decoding ({error.strerror or error}): free space in the temporary "
                "folder, look at the disk, and run again"
            ) from error
        return FrameRow(video_id=clip.video_id, fingerprint=fingerprint, sampled=sampled)


def as_unit(name: str, clips: Sequence[Clip]) -> Unit:
    """A unit as the pool hands it to a worker."""
    return Unit(name=name, payload=json.dumps([asdict(clip) for clip in clips]))

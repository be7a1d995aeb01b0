"""The worker's side of ingest: clips of a unit to stored frames or to failures that name a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from conical.core.errors import DecodeError, StoreError
from conical.core.records import Failure, VideoRecord
from conical.datasets import confined_path
from conical.on_ray.pool import Unit, UnitWorker
from conical.store import FrameRow, FrameStore
from conical.video import DecodeProcess, FrameRecipe, local_media, media_fingerprint

# frames that an actor holds before it writes them; a unit of large frames becomes several parts
_PART_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What an actor must know of a video."""

    video_id: str
    uri: str
    start_seconds: float
    end_seconds: float | None

    @classmethod
    def of(cls, record: VideoRecord) -> Clip:
        """The clip of a manifest's row."""
        return cls(
            video_id=record.video_id,
            uri=record.uri,
            start_seconds=record.start_seconds,
            end_seconds=record.end_seconds,
        )

    @property
    def window(self) -> str:
        """The part of the file that is the clip; "" for all of it."""
        if self.start_seconds == 0 and self.end_seconds is None:
            return ""
        return f"@{self.start_seconds}-{'' if self.end_seconds is None else self.end_seconds}"

    def fingerprint(self, root: str) -> str:
        """Of the file's bytes and the window; "" where nothing can be read, which the decoder then says in its words.

        Args:
            root: folder that the address is relative to.
        """
        try:
            return media_fingerprint(confined_path(root, self.uri)) + self.window if self.uri else ""
        except OSError:
            return ""

    def failure(self, kind: str, message: str) -> Failure:
        """The clip, set aside for a reason."""
        return Failure(video_id=self.video_id, uri=self.uri, stage="ingest", kind=kind, message=message)


def window_of(fingerprint: str) -> str:
    """The window that a stored fingerprint was made with."""
    _, mark, window = fingerprint.partition("@")
    return mark + window


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
        window = {"start_seconds": clip.start_seconds, "end_seconds": clip.end_seconds}
        try:
            with local_media(confined_path(self._root, clip.uri)) as path:
                sampled = self._process.sample(path, **window)
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

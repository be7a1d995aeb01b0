"""Which stored data a run reads, as plain values that travel to workers; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DataError
from conical.core.records import CaptionRecord, SupplementCount, VideoRecord
from conical.engine.stored_frames import ChosenFrames, Frames, scored_frames
from conical.store import CaptionLedger, FrameStore, Workspace, read_manifest
from conical.store.frames.decoded import DecodedFrames
from conical.store.frames.place import frame_map_folder


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Which stored data a run reads; plain values, so that it travels to workers.

    Args:
        dataset: folder of the dataset.
        frame_recipe: hash of the frame recipe.
        supplement_keys: which rows of the caption ledger; those of texts that failed are not there.
        supplement_counts: texts of train that were asked for and written, by prompt.
        head_prompts: prompts whose supplements the head reads.
        teacher: folder of the run that distillation learns from; "": none.
        num_frames: stored frames of each clip that scoring looks at; 0: all.
        map_folder: where each machine keeps the memory maps of frames, as `frame_map_folder`.
        frame_access: `map`, `decode` or `auto`, as `ray.frame_access`; the frames are the same.
    """

    workspace: str
    dataset: str
    frame_recipe: str
    supplement_keys: frozenset[str] = frozenset()
    supplement_counts: tuple[SupplementCount, ...] = ()
    head_prompts: tuple[str, ...] = ()
    teacher: str = ""
    num_frames: int = 0
    map_folder: str = ""
    frame_access: str = "auto"

    @property
    def _workspace(self) -> Workspace:
        return Workspace(Path(self.workspace))

    @property
    def frame_store(self) -> FrameStore:
        """The frames, opened for reading.

        Raises:
            DataError: they were not ingested.
        """
        path = self._workspace.frames(self.dataset, self.frame_recipe)
        if not (path / "card.json").is_file():
            raise DataError(f"dataset {self.dataset!r} has no frames of recipe {self.frame_recipe}: run ingest first")
        return FrameStore.open(path)

    def records(self, split: str) -> list[VideoRecord]:
        """Videos of a split that have frames, by id.

        Raises:
            DataError: the dataset was not ingested, or the split has no usable video.
        """
        path = self._workspace.manifest(self.dataset)
        if not path.is_file():
            raise DataError(f"dataset {self.dataset!r} has no manifest in {self.workspace}: run ingest first")
        usable = self.frame_store.video_ids()
        found = [record for record in read_manifest(path) if record.split == split and record.video_id in usable]
        if not found:
            raise DataError(f"split {split!r} of dataset {self.dataset!r} is empty: no video of it has frames")
        return sorted(found, key=lambda record: record.video_id)

    def frames(self, records: Sequence[VideoRecord]) -> NDArray[np.uint8] | DecodedFrames:
        """uint8 (video, frame, height, width, 3): a read-only map shared by all processes of this machine, or decoded.

        Raises:
            StoreError: a video has no frames, a part is damaged, or there is no room for a map that was asked for.
        """
        store, video_ids = self.frame_store, [record.video_id for record in records]
        if self.frame_access == "decode":
            return store.decoded(video_ids)
        if self.frame_access == "auto" and not store.can_afford_map(video_ids, self.map_place):
            return store.decoded(video_ids)
        return store.memory_map(video_ids, self.map_place)

    def frames_once(self, records: Sequence[VideoRecord]) -> DecodedFrames:
        """As `frames`, for one pass from the first to the last: no map is made for it."""
        return self.frame_store.decoded([record.video_id for record in records])

    def frames_hash(self, records: Sequence[VideoRecord]) -> str:
        """Hash of the stored frames of some videos, which are sorted by id."""
        return self.frame_store.content_hash([record.video_id for record in records])

    @property
    def map_place(self) -> Path:
        """Folder of the arrays that the processes of this machine share."""
        return frame_map_folder(self.map_folder, cache=self._workspace.cache)

    def scored_frames(self, records: Sequence[VideoRecord]) -> Frames | ChosenFrames:
        """As `frames`, with only those of each clip that evaluation looks at.

        Raises:
            ConfigError: fewer than `num_frames` are stored.
        """
        return scored_frames(self.frames(records), self.num_frames)

    def supplement_rows(self) -> list[CaptionRecord]:
        """The selected rows of the ledger, in a fixed order."""
        if not self.supplement_keys:
            return []
        rows = CaptionLedger(self._workspace.captions(self.dataset)).records()
        chosen = [row for row in rows if row.key in self.supplement_keys]
        return sorted(chosen, key=lambda row: (row.video_id, row.prompt_id, row.sample))

    def supplements(self) -> dict[str, dict[str, list[str]]]:
        """Video id to prompt id to texts."""
        found: dict[str, dict[str, list[str]]] = {}
        for row in self.supplement_rows():
            found.setdefault(row.video_id, {}).setdefault(row.prompt_id, []).append(row.text)
        return found

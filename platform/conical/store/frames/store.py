"""The frame store: the sampled frames of a dataset for one recipe.

    card.json                          the recipe and its hash
    part-<name>-<content>.parquet      a row per video
    failures.parquet                   the videos that were set aside; failures-<name>.parquet while a step goes on
    addresses.parquet                  where each video was read from (`addresses`)

Writers in several processes write parts of different names; nothing is edited in place.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conical.core.atomic import write_text_atomic
from conical.core.errors import StoreError
from conical.core.hashing import canonical_json, stable_hash
from conical.core.records import Failure, SampledFrames
from conical.store.frames.decoded import DecodedFrames
from conical.store.frames.map import is_map_affordable, open_frame_map
from conical.store.frames.schema import (
    INDEX_COLUMNS,
    PIXEL_COLUMNS,
    SCHEMA,
    FrameRow,
    decode_row,
    encode_row,
    identity_of,
)
from conical.store.parts import list_parts, read_table, remove_leftovers, write_row_groups
from conical.store.quarantine import read_failure_file, write_failure_file

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a video lies: row number `row` of `part` (row groups hold one row)."""

    part: Path
    row: int
    fingerprint: str
    frames_hash: str
    is_padded: bool


class FrameStore:
    """Frames of one recipe.

    Args:
        path: the folder; made when first written.
        recipe: what determines the pixels, with at least `codec` and `jpeg_quality`.

    Raises:
        StoreError: the folder holds frames of another recipe, or its card is damaged.
    """

    def __init__(self, path: str | Path, *, recipe: Mapping[str, Any], recipe_hash: str) -> None:
        self.path = Path(path)
        self.recipe = dict(recipe)
        self.recipe_hash = recipe_hash
        self._known_parts: dict[Path, dict[str, _Place]] = {}
        self._known_places: dict[str, _Place] = {}
        stored = _read_card(self.path)
        # the hash is the address: a recipe written before an option existed lacks its name, and is the same recipe
        if stored is not None and any(stored[name] != self._card[name] for name in ("format", "recipe_hash")):
            raise StoreError(
                f"{self.path} holds frames of recipe {stored['recipe_hash']}, not {recipe_hash}: "
                "give each recipe its own folder"
            )

    @classmethod
    def open(cls, path: str | Path) -> FrameStore:
        """The store that is at `path`.

        Raises:
            StoreError: there is none, or its card is damaged.
        """
        card = _read_card(Path(path))
        if card is None:
            raise StoreError(f"there is no frame store at {path}: run ingest first")
        return cls(path, recipe=card["recipe"], recipe_hash=card["recipe_hash"])

    def write_part(self, name: str, rows: Sequence[FrameRow]) -> None:
        """Add videos.

        Args:
            name: of the unit of work; the file's name is this and a hash of the content, so the same rows written twice
                are one file.
            rows: the videos; none writes nothing.

        Raises:
            StoreError: it cannot be written.
        """
        if not rows:
            return
        self._write_rows(name, [encode_row(row, self.recipe) for row in sorted(rows, key=lambda row: row.video_id)])

    def drop(self, video_ids: Collection[str]) -> None:
        """Forget the frames of some videos, which are then as if they had never been decoded.

        For the one process that drives a step, while no worker writes. The rest of a part is written whole before the
        part goes, so the store is valid whenever this is killed, and to call it again ends it.

        Args:
            video_ids: those without frames are left out.

        Raises:
            StoreError: a part cannot be read or written.
        """
        going = frozenset(video_ids)
        self._places()
        for part, rows in list(self._known_parts.items()):
            if going.isdisjoint(rows):
                continue
            kept = [place.row for video_id, place in rows.items() if video_id not in going]
            name = part.stem.removeprefix("part-").rpartition("-")[0]
            self._write_rows(name, [read_table(part, row_group=row) for row in kept])
            part.unlink(missing_ok=True)

    def write_failures(
        self, name: str, failures: Sequence[Failure], fingerprints: Mapping[str, str] | None = None
    ) -> None:
        """Set the failures of one unit of work, in place of those written under this name before.

        Args:
            name: of the unit of work.
            failures: the videos that failed.
            fingerprints: video id to hash of the file's bytes, where there is a file.
        """
        self._ensure_card()
        write_failure_file(self.path / f"failures-{name}.parquet", failures, fingerprints or {})

    def video_ids(self) -> frozenset[str]:
        """Videos that have frames."""
        return frozenset(self._places())

    def written_as(self, name: str) -> frozenset[str]:
        """Videos that have frames in the parts of one unit of work; looks at no others."""
        return frozenset(video_id for part in list_parts(self.path, f"part-{name}") for video_id in _read_index(part))

    def fingerprints(self) -> dict[str, str]:
        """What each video's frames were read from, by id: `FrameRow.fingerprint`."""
        return {video_id: place.fingerprint for video_id, place in self._places().items()}

    def padded(self) -> frozenset[str]:
        """Videos with fewer frames than the recipe asks for: their last one is repeated."""
        return frozenset(video_id for video_id, place in self._places().items() if place.is_padded)

    def failures(self) -> list[Failure]:
        """Videos that were set aside and have no frames, by id."""
        return [failure for failure, _ in self._quarantined().values()]

    def failed_fingerprints(self) -> dict[str, str]:
        """Video id of each failure to the fingerprint of the file that failed, "" if there was no file."""
        return {video_id: fingerprint for video_id, (_, fingerprint) in self._quarantined().items()}

    def done(self) -> frozenset[str]:
        """Videos that need no work: they have frames or were set aside."""
        return frozenset(self._places()) | frozenset(self._quarantined())

    def settle(self) -> None:
        """Gather the failures of all units in `failures.parquet` and sweep away what killed writers left.

        For the one process that drives a step, before and after its workers run. Safe to be killed at any point.
        """
        if not self.path.is_dir():
            return
        kept = self._quarantined()
        fingerprints = {video_id: fingerprint for video_id, (_, fingerprint) in kept.items()}
        write_failure_file(self.path / "failures.parquet", [failure for failure, _ in kept.values()], fingerprints)
        for path in list_parts(self.path, "failures"):
            path.unlink(missing_ok=True)
        remove_leftovers(self.path)

    def read(self, video_id: str) -> SampledFrames:
        """The frames of one video.

        Raises:
            StoreError: it has none, or its part is damaged.
        """
        place = self._places().get(video_id)
        if place is None:
            raise StoreError(f"{self.path} has no frames of {video_id!r}: run ingest, then look into its failures")
        row = read_table(place.part, row_group=place.row).to_pylist()[0]
        return SampledFrames(
            frames=decode_row(row, self.recipe, place.part),
            frame_indices=tuple(row["frame_indices"]),
            pts_seconds=tuple(row["pts_seconds"]),
            decoder=row["decoder"],
            is_padded=row["is_padded"],
        )

    def content_hash(self, video_ids: Collection[str] | None = None) -> str:
        """Hash of frames, whatever the order and the parts they were written in. Failures are not part of it.

        Args:
            video_ids: whose frames; None: all.
        """
        places = self._places()
        wanted = sorted(places if video_ids is None else frozenset(video_ids) & places.keys())
        return stable_hash([[name, places[name].fingerprint, places[name].frames_hash] for name in wanted])

    def memory_map(self, video_ids: Sequence[str], cache_dir: str | Path) -> np.memmap[Any, np.dtype[np.uint8]]:
        """The frames of many videos as one read-only array, shared by all processes of the machine.

        The file behind it is derived from the parts once and named by its content; every later caller maps it.

        Args:
            video_ids: rows of the array, in this order.
            cache_dir: folder of derived files, on a local disk.

        Returns:
            uint8, (video, frame, height, width, 3).

        Raises:
            StoreError: a video has no frames, sizes differ, or a part is damaged.
        """
        places = self._places_of(video_ids)
        return open_frame_map(
            _map_path(video_ids, places, cache_dir), num_videos=len(places), videos=lambda: self._stream(places)
        )

    def can_afford_map(self, video_ids: Sequence[str], cache_dir: str | Path) -> bool:
        """Whether the array of `memory_map` is there already, or takes at most 20 GB and half of the free disk.

        Raises:
            StoreError: as `memory_map`.
        """
        path = _map_path(video_ids, self._places_of(video_ids), cache_dir)
        return is_map_affordable(path, num_bytes=self.decoded(video_ids).nbytes)

    def decoded(self, video_ids: Sequence[str]) -> DecodedFrames:
        """The frames of many videos, equal to those of `memory_map`, read and decoded when they are asked for.

        Needs no file beside the parts, which must stay while it is used.

        Args:
            video_ids: rows of the array, in this order.

        Returns:
            What is indexed like a uint8 array of (video, frame, height, width, 3).

        Raises:
            StoreError: a video has no frames, or the first part is damaged.
        """
        places = self._places_of(video_ids)
        return DecodedFrames([(place.part, place.row) for place in places], codec=self.recipe["codec"])

    def _write_rows(self, name: str, tables: Sequence[pa.Table]) -> None:
        if not tables:
            return
        content = stable_hash([row for table in tables for row in identity_of(table)])
        path = self.path / f"part-{name}-{content}.parquet"
        if not path.is_file():
            self._ensure_card()
            # a video is what is read at a time
            write_row_groups(path, tables, schema=SCHEMA)

    @property
    def _card(self) -> dict[str, Any]:
        recipe: dict[str, Any] = json.loads(canonical_json(self.recipe))
        return {"format": _FORMAT, "recipe": recipe, "recipe_hash": self.recipe_hash}

    def _ensure_card(self) -> None:
        path = self.path / "card.json"
        if path.is_file():
            return
        try:
            write_text_atomic(path, json.dumps(self._card, indent=1))
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror}): free space or mend its folder") from error

    def _places(self) -> dict[str, _Place]:
        """Every video's place. The listing is fresh each time; parts never change, so each is read once."""
        parts = list_parts(self.path, "part")
        if parts == list(self._known_parts):
            return self._known_places
        known = {part: self._known_parts.get(part) or _read_index(part) for part in parts}
        places: dict[str, _Place] = {}
        for part, rows in known.items():
            for video_id, place in rows.items():
                first = places.setdefault(video_id, place)
                if first.frames_hash != place.frames_hash:
                    raise StoreError(
                        f"{video_id!r} has different frames in {first.part} and {part.name}: "
                        "delete one of the two files"
                    )
        self._known_parts, self._known_places = known, places
        return places

    def _places_of(self, video_ids: Sequence[str]) -> list[_Place]:
        places = self._places()
        if missing := [video_id for video_id in video_ids if video_id not in places]:
            raise StoreError(
                f"{self.path} has no frames of {len(missing)} videos, such as {missing[0]!r}: run ingest first"
            )
        return [places[video_id] for video_id in video_ids]

    def _quarantined(self) -> dict[str, tuple[Failure, str]]:
        """By id. A unit's file is newer than `failures.parquet`; a video that has frames by now is not set aside."""
        failures: dict[str, tuple[Failure, str]] = {}
        for path in (self.path / "failures.parquet", *list_parts(self.path, "failures")):
            failures |= {row[0].video_id: row for row in read_failure_file(path)}
        places = self._places() if failures else {}
        return {video_id: failures[video_id] for video_id in sorted(failures) if video_id not in places}

    def _stream(self, places: Sequence[_Place]) -> Iterator[NDArray[np.uint8]]:
        """Frames of one video after the other, (frame, height, width, 3)."""
        for place in places:
            row = read_table(place.part, columns=PIXEL_COLUMNS, row_group=place.row).to_pylist()[0]
            yield decode_row(row, self.recipe, place.part)


def _map_path(video_ids: Sequence[str], places: Sequence[_Place], cache_dir: str | Path) -> Path:
    """The array file, named by its content."""
    names = zip(video_ids, places, strict=True)
    content = stable_hash([[video_id, place.frames_hash] for video_id, place in names])
    return Path(cache_dir) / f"frames-{content}.npy"


def _read_index(part: Path) -> dict[str, _Place]:
    rows = read_table(part, columns=INDEX_COLUMNS).to_pylist()
    return {
        row["video_id"]: _Place(part=part, row=number, **{name: row[name] for name in INDEX_COLUMNS[1:]})
        for number, row in enumerate(rows)
    }


def _read_card(path: Path) -> dict[str, Any] | None:
    card = path / "card.json"
    if not card.is_file():
        return None
    try:
        card_values = json.loads(card.read_text(encoding="utf-8"))
        return {name: card_values[name] for name in ("format", "recipe", "recipe_hash")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{card} cannot be read ({error}): delete the folder and run ingest again") from error

"""Videos of different splits that were cut from one source, and those that even show the same seconds of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from conical.core.errors import DataError
from conical.core.findings import HELD_OUT_FIRST, Finding
from conical.core.records import VideoRecord

# `extra` of a record whose file is a clip already: where the clip lies in its source
SOURCE_START, SOURCE_END = "source_start_seconds", "source_end_seconds"
_NAMED = 3  # videos that a detail names


def shared_sources(records: Sequence[VideoRecord], *, files: Mapping[str, str] | None = None) -> list[Finding]:
    """Videos whose source another split uses too.

    Two videos have a common source if they name one, or if they are of one file: a list may name the source of some
    videos only, or call it by several names.

    Args:
        files: video id to a hash of its file, where known; other videos are told apart by their addresses.

    Returns:
        One finding for each video and split that is held out less; `value` counts the videos of the source there.
    """
    by_origin: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for kind, origin in (("source", record.source_id), ("file", _file(record, files or {}))):
            if origin:
                by_origin[kind, origin][record.split].append(record.video_id)
    # video, its split, the other split: the others there, each with the first origin that it was found by
    shared: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for (_, origin), by_split in by_origin.items():
        for split_a, split_b in split_pairs(by_split):
            for video_id in by_split[split_a]:
                others = shared[video_id, split_a, split_b]
                for other in by_split[split_b]:
                    others.setdefault(other, origin)
    return [_shared(*place, others) for place, others in shared.items()]


def _shared(video_id: str, split_a: str, split_b: str, others: Mapping[str, str]) -> Finding:
    ids = sorted(others)
    named = ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
    return Finding(
        kind="shared-source",
        split_a=split_a,
        video_a=video_id,
        split_b=split_b,
        video_b=ids[0],
        detail=f"cut from {' and '.join(dict.fromkeys(others.values()))}, as {named} of {split_b}",
        value=float(len(ids)),
    )


def overlaps(records: Sequence[VideoRecord], *, files: Mapping[str, str] | None = None) -> list[Finding]:
    """Pairs of videos of different splits that show the same seconds.

    Times are half-open: a clip that starts where another ends does not overlap it. Compared are the places in a common
    source (`source_start_seconds` and `source_end_seconds` of `extra`), and the places in a common file.

    Args:
        files: video id to a hash of its file, where known; other videos are told apart by their addresses.

    Returns:
        One finding a pair; `value` is the seconds in common.

    Raises:
        DataError: a place in the source is not two numbers, the second one larger.
    """
    by_origin: dict[tuple[str, str], list[_Place]] = defaultdict(list)
    for record in records:
        for kind, origin, start, end in _places(record, files or {}):
            by_origin[kind, origin].append(_Place(start, end, record))
    overlapping = {}
    for (_, origin), places in by_origin.items():
        for first, second in _intersecting(places):
            a, b = sorted((first, second), key=lambda place: HELD_OUT_FIRST.index(place.record.split))
            start, end = max(a.start, b.start), min(a.end, b.end)
            common = f"{end - start:.1f} s" if math.isfinite(end) else "all"
            overlapping[a.record.video_id, b.record.video_id] = Finding(
                kind="overlap",
                split_a=a.record.split,
                video_a=a.record.video_id,
                split_b=b.record.split,
                video_b=b.record.video_id,
                detail=f"{common} of {origin} from {start:.1f} s on",
                value=round(end - start, 3) if math.isfinite(end) else 0.0,
            )
    return list(overlapping.values())


@dataclass(frozen=True)
class _Place:
    start: float
    end: float
    record: VideoRecord


def split_pairs(splits: Mapping[str, object]) -> list[tuple[str, str]]:
    """Pairs of these splits, the one that is held out further first."""
    return list(combinations((split for split in HELD_OUT_FIRST if split in splits), 2))


def _file(record: VideoRecord, files: Mapping[str, str]) -> str:
    return files.get(record.video_id) or record.uri


def _places(record: VideoRecord, files: Mapping[str, str]) -> Iterator[tuple[str, str, float, float]]:
    """Where the clip lies, in its source and in its file: which of the two, its name, start and end."""
    times = [record.extra[name] for name in (SOURCE_START, SOURCE_END) if name in record.extra]
    if record.source_id and times:
        if len(times) != 2 or not all(isinstance(time, (int, float)) for time in times) or times[0] >= times[1]:
            raise DataError(
                f"{record.video_id} must have numbers {SOURCE_START} < {SOURCE_END} in its extra, "
                f"got {', '.join(map(repr, times))}: mend or remove them"
            )
        yield "source", record.source_id, times[0], times[1]
    if file := _file(record, files):
        yield "file", file, record.start_seconds, math.inf if record.end_seconds is None else record.end_seconds


def _intersecting(places: Sequence[_Place]) -> Iterator[tuple[_Place, _Place]]:
    """Pairs of different splits whose half-open times intersect; each start is compared with what is still open."""
    still_open: list[_Place] = []
    for place in sorted(places, key=lambda place: (place.start, place.end, place.record.video_id)):
        still_open = [other for other in still_open if other.end > place.start]
        yield from ((other, place) for other in still_open if other.record.split != place.record.split)
        still_open.append(place)

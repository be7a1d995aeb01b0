"""A validation split for datasets that have none.

Sources (the videos that clips were cut from) are ordered by a hash of their names, and whole sources are taken as long
as they fit, until exactly the wanted number of clips is reached. So the split is the same on every machine and whatever
the order of the records, and no source of val is in train.

Sources that another split uses too stay in train: val is then disjoint from test as well, and what a leakage audit says
about train and test is not changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence

from conical.core.errors import DataError
from conical.core.options import require
from conical.core.records import VideoRecord


def hold_out(records: Sequence[VideoRecord], *, count: int, salt: str) -> list[VideoRecord]:
    """Move videos from train to val.

    Args:
        records: of all splits. Clips are of one source if they share a `source_id` or a file; a video without both is a
            source of its own.
        count: >= 1; videos that val gets.
        salt: any fixed text; another one gives another split.

    Returns:
        The records in their order, `count` of train with split `val`.

    Raises:
        DataError: no set of whole sources that is found this way has that many videos.
    """
    require(count >= 1, f"count must be >= 1, got {count}")
    source_of = _sources(records)
    elsewhere = {source for record, source in zip(records, source_of, strict=True) if record.split != "train"}
    sources: dict[str, list[str]] = defaultdict(list)
    for record, source in zip(records, source_of, strict=True):
        if record.split == "train" and source not in elsewhere:
            sources[source].append(record.video_id)
    held: set[str] = set()
    for source in sorted(sources, key=lambda name: _place(name, salt)):
        if len(held) + len(sources[source]) <= count:
            held.update(sources[source])
    if len(held) != count:
        num_free = sum(len(ids) for ids in sources.values())
        raise DataError(
            f"a validation split of {count:,} videos cannot be cut from train: whole sources give {len(held):,} of the "
            f"{num_free:,} videos whose source no other split uses; ask for fewer "
            f"(--option validation={len(held)}, 0 for none)"
        )
    return [
        dataclasses.replace(record, split="val") if record.split == "train" and record.video_id in held else record
        for record in records
    ]


def _sources(records: Sequence[VideoRecord]) -> list[str]:
    """The source of each record: names that meet in one file are one source, the alphabetically first of them."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    # the file's own name takes no part: it may be an absolute path, and the split is the same on every machine
    first_in: dict[str, str] = {}
    for record in records:
        if record.uri:
            here = _source(record)
            low, high = sorted((find(here), find(first_in.setdefault(record.uri, here))))
            leader[high] = low
    return [find(_source(record)) for record in records]


def _source(record: VideoRecord) -> str:
    # the mark keeps a video that is named like another one's source apart from it
    return f"source:{record.source_id}" if record.source_id else f"video:{record.video_id}"


def _place(source: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\n{source}".encode()).hexdigest()

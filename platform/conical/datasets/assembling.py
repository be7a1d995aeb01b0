"""From annotations and a folder of videos to records: the same checks for every dataset.

1. compare   published lists with what the files hold, by count and by hash of the ids: always refused if wrong
2. find      each video by its id under the root: several files that differ are refused, none is `missing`
3. count     blank captions are left out, duplicates kept; both are counted
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from conical.core.errors import DataError
from conical.core.options import did_you_mean, require
from conical.core.records import SPLITS, DatasetSummary, SplitCount, VideoRecord
from conical.datasets.addresses import confined_path, plain_uri
from conical.datasets.annotations import Annotations, PublishedList, hash_ids
from conical.datasets.finder import find_videos

_NAMED = 10  # ids that a message names


def assemble(
    annotations: Annotations, root: str | Path, *, name: str, allow_missing: bool = False, videos: str = ""
) -> tuple[list[VideoRecord], DatasetSummary]:
    """Find the videos of a dataset and count what is there.

    Args:
        root: folder of the dataset.
        allow_missing: keep videos without a file, with `uri` "", instead of refusing the dataset.
        videos: sub-folder of `root` that holds the videos; "": anywhere under the root.

    Returns:
        The records in the reader's order, and the counts.

    Raises:
        DataError: several different files fit one video, or videos are missing and that was not allowed.
    """
    records = _with_files(annotations, Path(root), name=name, videos=videos)
    kept = [_without_blank_captions(record) for record in records]
    num_present = Counter(record.split for record in kept if record.uri)
    absent = [video_id for ids in annotations.absent.values() for video_id in ids]
    expected = Counter(record.split for record in kept)
    expected.update({split: len(ids) for split, ids in annotations.absent.items()})
    summary = DatasetSummary(
        name=name,
        variant=annotations.variant,
        splits={
            split: SplitCount(expected=expected[split], found=num_present[split]) for split in SPLITS if expected[split]
        },
        num_captions=sum(len(record.captions) for record in kept),
        num_blank_captions=sum(len(record.captions) for record in records)
        - sum(len(record.captions) for record in kept),
        num_duplicate_captions=sum(len(record.captions) - len(set(record.captions)) for record in kept),
        lists={list_name: hash_ids(ids) for list_name, ids in _lists(annotations).items()},
        missing=tuple(sorted([*absent, *(record.video_id for record in kept if not record.uri)])),
        notes=(*annotations.notes, *_missing_addresses(annotations, kept)),
    )
    if summary.is_partial and not allow_missing:
        addresses = "".join(f"; {note}" for note in _missing_addresses(annotations, kept))
        raise DataError(
            missing_sentence(summary) + addresses + ": get them, or allow it (--allow-missing, dataset.allow_missing)"
        )
    return kept, summary


def missing_sentence(summary: DatasetSummary) -> str:
    """What is missing, split by split, with the first ids; "" for a complete dataset.

    >>> missing_sentence(DatasetSummary(name="mine", variant="", splits={"test": SplitCount(expected=3, found=2)},
    ...     num_captions=3, num_blank_captions=0, num_duplicate_captions=0, missing=("b",)))
    "videos of 'mine' are missing: test 3 expected, 2 found (b)"
    """
    if not summary.is_partial:
        return ""
    counts = "; ".join(
        f"{split} {count.expected:,} expected, {count.found:,} found"
        for split, count in summary.splits.items()
        if count.found < count.expected
    )
    first = ", ".join(summary.missing[:_NAMED]) + (" …" if len(summary.missing) > _NAMED else "")
    lead = "first ten " if len(summary.missing) > _NAMED else ""
    return f"videos of {summary.name!r} are missing: {counts}" + (f" ({lead}{first})" if first else "")


def check_lists(annotations: Annotations, published: Mapping[str, Mapping[str, PublishedList]], *, name: str) -> None:
    """Compare the lists of a dataset with those that its publication fixes.

    Args:
        published: variant to list name to what the list must hold.

    Raises:
        DataError: a list has another number of videos, or other ones.
    """
    lists = _lists(annotations)
    for list_name, wanted in published.get(annotations.variant, {}).items():
        ids = lists.get(list_name, ())
        if len(set(ids)) != wanted.count or len(ids) != wanted.count:
            repeated = f" ({len(ids) - len(set(ids))} repeated)" if len(ids) != len(set(ids)) else ""
            raise DataError(
                f"list {list_name!r} of {name!r} must have {wanted.count:,} videos, got {len(ids):,}{repeated}: "
                "take the published files"
            )
        if wanted.ids_hash and hash_ids(ids) != wanted.ids_hash:
            raise DataError(
                f"list {list_name!r} of {name!r} must hold the published ids (hash {wanted.ids_hash}), got "
                f"{hash_ids(ids)}: take the published files"
            )


def check_records(records: Sequence[VideoRecord], *, name: str, splits: Sequence[str] = ()) -> None:
    """Refuse a dataset that contradicts itself.

    Args:
        name: of the dataset, for the message.
        splits: splits that must have a video with a caption.

    Raises:
        DataError: no video, an id twice, or a split without a captioned video.
    """
    if not records:
        raise DataError(f"dataset {name!r} is empty: give it at least one video")
    (video_id, count), *_ = Counter(record.video_id for record in records).most_common(1)
    if count > 1:
        raise DataError(
            f"video ids of {name!r} must be unique, but {video_id!r} comes {count} times: rename or merge them"
        )
    for split in splits:
        if not any(record.split == split and record.captions for record in records):
            held = ", ".join(sorted({record.split for record in records if record.captions})) or "none"
            raise DataError(f"split {split!r} of {name!r} has no captioned video; splits that have: {held}")


def _lists(annotations: Annotations) -> Mapping[str, tuple[str, ...]]:
    """The published lists; a dataset that names none has its splits."""
    if annotations.lists:
        return annotations.lists
    splits = [split for split in SPLITS if any(record.split == split for record in annotations.videos)]
    return {split: tuple(record.video_id for record in annotations.videos if record.split == split) for split in splits}


def _with_files(annotations: Annotations, root: Path, *, name: str, videos: str) -> list[VideoRecord]:
    searched = _searched(root, videos)
    wanted = {
        record.video_id: (record.video_id, *annotations.other_names.get(record.video_id, ()))
        for record in annotations.videos
        if not record.uri
    }
    places = find_videos(searched, wanted) if wanted else None
    if places is not None and places.ambiguous:
        listed = "; ".join(
            f"{video_id}: {', '.join(paths)}" for video_id, paths in sorted(places.ambiguous.items())[:_NAMED]
        )
        raise DataError(
            f"{len(places.ambiguous):,} videos of {name!r} have several files that differ ({listed}): remove the wrong "
            "ones, or name the folder that holds the videos (--option videos=FOLDER)"
        )
    records = []
    for record in annotations.videos:
        uri = record.uri
        if not uri:
            assert places is not None
            place = places.uris.get(record.video_id)
            uri = "" if place is None else str(Path(videos) / place)
        else:
            # one spelling a file, so that whoever compares addresses (the audit of splits) compares files
            uri = plain_uri(root, uri) if _is_there(confined_path(root, uri)) else ""
        records.append(dataclasses.replace(record, uri=uri))
    return records


def _missing_addresses(annotations: Annotations, records: Sequence[VideoRecord]) -> list[str]:
    """A sentence about the listed addresses that hold no file, if there are such."""
    missing = [
        f"{record.video_id} at {record.uri}"
        for record, assembled in zip(annotations.videos, records, strict=True)
        if record.uri and not assembled.uri
    ]
    more = " …" if len(missing) > _NAMED else ""
    return [f"listed but not there: {', '.join(sorted(missing)[:_NAMED])}{more}"] if missing else []


def _searched(root: Path, videos: str) -> Path:
    if not videos:
        return root
    folder = confined_path(root, videos)
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    require(
        folder.is_dir(),
        f"option videos must name a folder under {root}, got {videos!r}; there are {', '.join(folders) or 'none'}."
        + did_you_mean(videos, folders),
    )
    return folder


def _is_there(path: Path) -> bool:
    """A file, a folder of images, or a member of a tar file, whose presence shows when it is read."""
    return path.exists() or any(parent.suffix == ".tar" and parent.is_file() for parent in path.parents)


def _without_blank_captions(record: VideoRecord) -> VideoRecord:
    return dataclasses.replace(record, captions=tuple(caption for caption in record.captions if caption.strip()))

"""MSVD: 1,970 clips of YouTube videos, about 40 English sentences each.

Captions come from one of three files, the first that is there unless the option `captions` names another:

    captions_msvd.json         video id to sentences
    raw-captions.pkl           video id to lists of words; loaded as plain data only
    AllVideoDescriptions.txt   a line per sentence, after the video id

Splits come from `train_list.txt`, `val_list.txt` and `test_list.txt`: 1,200, 100 and 670 videos. A video id is the
YouTube id, start and end in seconds, `-4wsuPCjDBc_5_15`; `youtube_mapping.txt`, where it is there, gives other names
(`vid1`) that the files may have.

Sources: Chen and Dolan, Collecting Highly Parallel Data for Paraphrase Evaluation, ACL 2011; splits: Venugopalan et
al., NAACL 2015.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets.annotations import Annotations, PublishedList
from conical.datasets.readers.annotation_entries import split_of_each, to_record, typed
from conical.datasets.readers.annotation_files import AnnotationFile, AnnotationFiles, read_json, read_lines
from conical.datasets.readers.csv_files import read_ids
from conical.datasets.readers.plain_pickle import load_plain_pickle
from conical.datasets.readers.reader_options import require_option

CAPTION_FILES = ("captions_msvd.json", "raw-captions.pkl", "AllVideoDescriptions.txt")
MSVD_LISTS = {
    "": {
        "train": PublishedList(count=1200, ids_hash="42542253dfa83993"),
        "val": PublishedList(count=100, ids_hash="0bec36e217a4d3be"),
        "test": PublishedList(count=670, ids_hash="9c936428326fe0fb"),
    }
}
_MAX_PICKLE_BYTES = 1 << 28  # the published one has about 10 MB, and plain data grows in memory
_VIDEO_ID = re.compile(r"(?P<source>.+)_(?P<start>\d+)_(?P<end>\d+)")


def read_msvd(root: str | Path, *, captions: str = "") -> Annotations:
    """Read the annotations of MSVD.

    Args:
        root: folder with the files, in any sub-folder, zipped or not.
        captions: one of `CAPTION_FILES`; "": the first that is there.

    Returns:
        The listed videos. `source_id` is the YouTube id; a clip's place in that video is in `extra`, since the files
        that people have hold the clip only.

    Raises:
        ConfigError: no such caption file is known.
        DataError: a file is missing or broken, or a listed video has no captions in it.
    """
    if captions:
        require_option(captions, CAPTION_FILES, option="captions", dataset="msvd")
    files = AnnotationFiles.scan(root)
    source = files.require(*([captions] if captions else CAPTION_FILES), why="download MSVD's captions there")
    why = "take the lists of 1,200, 100 and 670 videos"
    lists = {part: read_ids(files.require(f"{part}_list.txt", why=why)) for part in ("train", "val", "test")}
    splits = split_of_each(lists)
    texts = _read_captions(source)
    if lost := [video_id for video_id in splits if video_id not in texts]:
        raise DataError(f"{source} has no captions of {len(lost):,} listed videos (the first: {lost[0]!r})")
    unread = [name for name in CAPTION_FILES if name != source.name and files.find(name)]
    other_names, notes = _other_names(files, splits)
    if unread:
        notes.append(f"captions come from {source.name}; not read: {', '.join(unread)}")
    return Annotations(
        videos=tuple(_to_record(video_id, split, texts[video_id], source) for video_id, split in splits.items()),
        lists=lists,
        other_names=other_names,
        notes=tuple(notes),
    )


def _read_captions(file: AnnotationFile) -> dict[str, tuple[str, ...]]:
    if file.name.lower().endswith(".txt"):
        return _read_descriptions(file)
    if file.name.lower().endswith(".json"):
        content = read_json(file)
    else:
        content = load_plain_pickle(file.read_bytes(max_bytes=_MAX_PICKLE_BYTES), str(file))
    return {
        video_id: tuple(
            _sentence(text, f"{file}, caption {number} of {video_id!r}")
            for number, text in enumerate(typed(captions, list, f"{file}, captions of {video_id!r}"))
        )
        for video_id, captions in typed(content, dict, str(file)).items()
    }


def _sentence(text: Any, where: str) -> str:
    if isinstance(text, list):
        return " ".join(typed(word, str, f"{where}, a word") for word in text)
    return typed(text, str, where)


def _read_descriptions(file: AnnotationFile) -> dict[str, tuple[str, ...]]:
    captions = defaultdict(list)
    for number, line in read_lines(file):
        if line.startswith("#"):
            continue
        video_id, _, caption = line.partition(" ")
        if not _VIDEO_ID.fullmatch(video_id):
            raise DataError(f"{file}, line {number} must be a video id and a sentence, got {line[:80]!r}: mend it")
        captions[video_id].append(caption)
    return {video_id: tuple(texts) for video_id, texts in captions.items()}


def _to_record(video_id: str, split: str, captions: tuple[str, ...], file: AnnotationFile) -> VideoRecord:
    match = _VIDEO_ID.fullmatch(video_id)
    if match is None:
        raise DataError(
            f"video ids of MSVD must be a YouTube id, start and end, joined by _; got {video_id!r} in a list"
        )
    return to_record(
        f"{file}, {video_id!r}",
        video_id=video_id,
        split=split,
        captions=captions,
        source_id=match["source"],
        extra={"source_start_seconds": float(match["start"]), "source_end_seconds": float(match["end"])},
    )


def _other_names(files: AnnotationFiles, listed: Collection[str]) -> tuple[Mapping[str, tuple[str, ...]], list[str]]:
    """Video id to its other name, and what there is to say about them."""
    file = files.find("youtube_mapping.txt")
    names = {}
    for number, line in read_lines(file) if file else ():
        words = line.split()
        if len(words) != 2:
            raise DataError(f"{file}, line {number} must be a video id and a name, got {line[:80]!r}: mend it")
        names[words[0]] = (words[1],)
    unknown = [video_id for video_id in names if video_id not in listed]
    if unknown and len(unknown) == len(names):
        raise DataError(
            f"{file} must have a video id and then its name on each line, but none of its {len(names):,} ids is in a "
            f"list (the first: {unknown[0]!r}): swap the columns, or remove it"
        )
    note = f"{len(unknown):,} of {len(names):,} ids of youtube_mapping.txt are in no list (the first: "
    return names, [note + f"{unknown[0]!r})"] if unknown else []

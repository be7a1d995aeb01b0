"""`frames`: videos that were cut into images, a folder each, with captions and splits beside them.

<video_id>/*.jpg             at any depth; the natural order of the names is the order of the frames
captions.json                {video_id: [captions]}, or a list of {"video_id", "caption" or "captions"[, "split"]}
captions.csv                 instead: columns video_id, caption[, split], a row per caption
train.txt, val.txt, test.txt a video id per line; needed where the captions name no split
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conical.core.errors import DataError
from conical.core.records import SPLITS
from conical.datasets.annotations import Annotations
from conical.datasets.readers.annotation_entries import require_storable, split_of_each, to_record
from conical.datasets.readers.annotation_files import AnnotationFile, parse_json, read_lines, read_text
from conical.datasets.readers.csv_files import column_names, csv_rows, listed_names, open_csv
from conical.datasets.split_names import split_named

CAPTION_FILES = ("captions.json", "captions.csv")


def read_frames_folder(root: str | Path) -> Annotations:
    """Read captions and splits of folders of frames.

    Args:
        root: folder that holds the caption file, the lists, and the folders of frames at any depth.

    Returns:
        A record per video: first those with captions, in the order of the file, then those that only a list names.

    Raises:
        DataError: there is no caption file, an entry of it is wrong, or a video has no split or several.
    """
    root = Path(root)
    path = _find(root)
    captions: dict[str, list[str]] = {}
    splits = _listed_splits(root)
    for entry in _read_json(path) if path.suffix == ".json" else _read_csv(path):
        captions.setdefault(entry.video_id, []).extend(entry.captions)
        split = split_named(entry.split) or entry.split
        if split and (held := splits.setdefault(entry.video_id, split)) != split:
            raise DataError(
                f"{entry.where}: {entry.video_id!r} must have one split, got {held} elsewhere and {split} here"
            )
    for video_id in captions:
        if video_id not in splits:
            raise DataError(
                f"{path}: {video_id!r} has no split: name it in train.txt, val.txt or test.txt, or give each caption a "
                "split"
            )
    return Annotations(
        videos=tuple(
            to_record(str(path), video_id=video_id, split=splits[video_id], captions=tuple(captions.get(video_id, ())))
            for video_id in dict.fromkeys((*captions, *splits))
        )
    )


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What one place of a caption file says; `split` "" if nothing."""

    where: str
    video_id: str
    captions: tuple[str, ...]
    split: str = ""


def _find(root: Path) -> Path:
    held = [name for name in CAPTION_FILES if (root / name).is_file()]
    if len(held) != 1:
        got = " and ".join(held) or "none"
        raise DataError(f"dataset root {root} must hold one of {', '.join(CAPTION_FILES)}, got {got}")
    return root / held[0]


def _listed_splits(root: Path) -> dict[str, str]:
    lists: dict[str, list[str]] = {}
    for split in SPLITS:
        path = root / f"{split}.txt"
        if path.is_file():
            numbered = read_lines(AnnotationFile(path))
            lists[split] = [video_id for _, video_id in numbered]
            first_lines: dict[str, int] = {}
            for number, video_id in numbered:
                first = first_lines.setdefault(video_id, number)
                if first != number:
                    raise DataError(f"{path}, line {number} repeats {video_id!r} of line {first}: remove one")
    return split_of_each(lists)


def _read_csv(path: Path) -> Iterator[_Entry]:
    reader = open_csv(io.StringIO(read_text(AnnotationFile(path)), newline=""))
    try:
        columns = column_names(reader, str(path))
        for column in ("video_id", "caption"):
            if column not in columns:
                held = listed_names(columns)
                raise DataError(f"{path} must have a column {column!r}, it has {held}: write a header")
        for line, row in csv_rows(reader, str(path)):
            yield _Entry(
                where=f"{path}, line {line}",
                video_id=row["video_id"],
                captions=(row["caption"],),
                split=row.get("split", ""),
            )
    except csv.Error as error:
        raise DataError(f"{path} is not CSV after line {reader.line_num} ({error}): save it anew") from error


def _read_json(path: Path) -> Iterator[_Entry]:
    content = parse_json(read_text(AnnotationFile(path)), str(path), advice="save it anew", constant=float)
    if isinstance(content, dict):
        for video_id, said in content.items():
            where = f"{path}, {video_id!r}"
            yield _Entry(where=where, video_id=video_id, captions=_captions(said, where))
    elif isinstance(content, list):
        for number, item in enumerate(content, start=1):
            yield _from_item(item, f"{path}, entry {number}")
    else:
        raise DataError(f"{path} must be an object or a list, got {type(content).__name__}")


def _from_item(item: Any, where: str) -> _Entry:
    if not isinstance(item, dict):
        raise DataError(f"{where} must be an object, got {item!r}")
    if "video_id" not in item or not {"caption", "captions"} & item.keys():
        raise DataError(f"{where} must have video_id and caption (or captions), it has {', '.join(item) or 'none'}")
    for name in ("video_id", "split"):
        if not isinstance(item.get(name, ""), str):
            raise DataError(f"{where}: {name} must be str, got {item[name]!r}")
    captions = tuple(text for name in ("caption", "captions") if name in item for text in _captions(item[name], where))
    return _Entry(where=where, video_id=item["video_id"], captions=captions, split=item.get("split", ""))


def _captions(said: Any, where: str) -> tuple[str, ...]:
    captions = [said] if isinstance(said, str) else said
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise DataError(f"{where}: captions must be a text or a list of texts, got {said!r}")
    require_storable(captions, f"{where}: captions")
    return tuple(captions)

"""Folders of frames of which nothing says the split: brought to be scored, so all of them are test.

<video_id>/*.jpg      at any depth, as for `frames`
captions.json, .csv   as for `frames`, without lists and without splits; or any file that is named, of either form
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conical.core.errors import DataError
from conical.core.records import SPLITS, DatasetSummary, VideoRecord
from conical.datasets import Annotations, check_records
from conical.datasets.assembling import assemble
from conical.datasets.options import DatasetOptions
from conical.datasets.readers.annotation_entries import require_storable, to_record
from conical.datasets.readers.annotation_files import AnnotationFile, parse_json, read_text
from conical.datasets.readers.csv_files import column_names, csv_rows, listed_names, open_csv
from conical.datasets.readers.frames_folder import CAPTION_FILES
from conical.datasets.readers.reader_options import refuse_unknown_options

_CAPTION_COLUMNS = ("caption", "sentence")  # of the second name in MSRVTT_JSFUSION_test.csv


def names_no_split(root: Path) -> bool:
    """Whether a folder of frames has captions, and neither a list nor a caption that names a split.

    Raises:
        DataError: there is no caption file, or it cannot be read.
    """
    if any((root / f"{split}.txt").is_file() for split in SPLITS):
        return False
    return not any(entry.split for entry in _entries(_caption_file(root)))


def read_held_out(options: DatasetOptions, root: Path) -> tuple[list[VideoRecord], DatasetSummary]:
    """Read folders of frames as a test split.

    Args:
        options: of its `reader` the caption file `captions`, "" for the one in the root, and the sub-folder `videos`.
        root: folder that holds the folders of frames, at any depth.

    Returns:
        One record per video that has captions, and what was counted.

    Raises:
        DataError: there are no captions, an entry of them is wrong, or videos are missing and that was not allowed.
        ConfigError: the reader has no such option.
    """
    given = dict(options.reader)
    videos = given.pop("videos", "")
    refuse_unknown_options(given, _annotations, dataset=options.name, common=("videos",))
    annotations = _annotations(root, **given)
    check_records(annotations.videos, name=options.name)
    return assemble(annotations, root, name=options.name, allow_missing=options.allow_missing, videos=videos)


def _annotations(root: Path, captions: str = "") -> Annotations:
    path = Path(captions) if captions else _caption_file(root)
    texts: dict[str, list[str]] = {}
    for entry in _entries(path):
        texts.setdefault(entry.video_id, []).extend(entry.captions)
    records = tuple(
        to_record(str(path), video_id=video_id, split="test", captions=tuple(said)) for video_id, said in texts.items()
    )
    return Annotations(
        videos=records, notes=(f"{path.name} is read without splits: all {len(records):,} videos are test",)
    )


@dataclass(frozen=True, kw_only=True)
class _Entry:
    video_id: str
    captions: tuple[str, ...]
    split: str = ""


def _caption_file(root: Path) -> Path:
    held = [name for name in CAPTION_FILES if (root / name).is_file()]
    if len(held) == 1:
        return root / held[0]
    if held:
        raise DataError(f"{root} must hold one of {', '.join(CAPTION_FILES)}, got both: remove one, or give --captions")
    others = sorted(path.name for path in root.glob("*.csv"))
    hint = f"; there is {', '.join(others)}" if others else ""
    raise DataError(
        f"{root} holds no {' and no '.join(CAPTION_FILES)}: name a file with --captions, columns video_id and "
        f"{' or '.join(_CAPTION_COLUMNS)}{hint}"
    )


def _entries(path: Path) -> Iterator[_Entry]:
    return _read_json(path) if path.suffix.lower() == ".json" else _read_csv(path)


def _read_csv(path: Path) -> Iterator[_Entry]:
    reader = open_csv(io.StringIO(read_text(AnnotationFile(path)), newline=""))
    try:
        columns = column_names(reader, str(path))
        said = [name for name in _CAPTION_COLUMNS if name in columns]
        if "video_id" not in columns or not said:
            raise DataError(
                f"{path} must have columns video_id and {' or '.join(_CAPTION_COLUMNS)}, it has "
                f"{listed_names(columns)}: write a header"
            )
        for _, row in csv_rows(reader, str(path)):
            yield _Entry(video_id=row["video_id"], captions=(row[said[0]],), split=row.get("split", ""))
    except csv.Error as error:
        raise DataError(f"{path} is not CSV after line {reader.line_num} ({error}): save it anew") from error


def _read_json(path: Path) -> Iterator[_Entry]:
    content = parse_json(read_text(AnnotationFile(path)), str(path), advice="save it anew", constant=float)
    if isinstance(content, dict):
        content = [{"video_id": video_id, "captions": said} for video_id, said in content.items()]
    if not isinstance(content, list):
        raise DataError(f"{path} must be an object or a list, got {type(content).__name__}")
    for number, item in enumerate(content, start=1):
        yield _from_item(item, f"{path}, entry {number}")


def _from_item(item: Any, where: str) -> _Entry:
    fields = item if isinstance(item, dict) else {}
    said = fields.get("captions", fields.get("caption"))
    captions: list[Any] = said if isinstance(said, list) else [said]
    texts = (*captions, fields.get("video_id"), fields.get("split", ""))
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where} must have texts video_id and caption, or a list captions, got {str(item)[:80]!r}")
    require_storable(captions, f"{where}: captions")
    return _Entry(video_id=fields["video_id"], captions=tuple(captions), split=fields.get("split", ""))

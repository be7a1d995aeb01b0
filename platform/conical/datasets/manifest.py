"""`manifest`: a list of videos that the user wrote, as `manifest.jsonl` or `manifest.csv` in the dataset's root.

JSON lines: one object a video with the fields of `VideoRecord`; `captions` is a list.

CSV: the same columns with a header; a column `caption` holds one caption, and a video takes as many rows as it has
captions. `extra` holds a JSON object.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from conical.core.errors import DataError
from conical.core.options import did_you_mean
from conical.core.records import VideoRecord
from conical.datasets.addresses import confined_path

FILE_NAMES = ("manifest.jsonl", "manifest.csv")
_FIELDS = tuple(field.name for field in fields(VideoRecord))
_REQUIRED = tuple(
    field.name for field in fields(VideoRecord) if field.default is MISSING and field.default_factory is MISSING
)
_TYPES: dict[str, tuple[type, ...]] = {
    "captions": (list,),
    "start_seconds": (int, float),
    "end_seconds": (int, float, type(None)),
    "extra": (dict,),
}


def read_manifest_file(root: str | Path, *, file: str = "") -> list[VideoRecord]:
    """Read a user's list of videos.

    Args:
        root: folder of the dataset; addresses are relative to it and may not leave it.
        file: name of the list under `root`; "" takes the first of `FILE_NAMES` that is there.

    Returns:
        One record a video, in the order of the list.

    Raises:
        DataError: there is no list, or a line of it is wrong; the message names the line.
    """
    path = _find(Path(root), file)
    read = {".jsonl": _read_json_lines, ".csv": _read_csv}.get(path.suffix)
    if read is None:
        raise DataError(f"a manifest must be a .jsonl or .csv file, got {path.name!r}: convert it")
    try:
        numbered = list(read(path))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not UTF-8 text in its format ({error}): save it anew") from error
    records = [_to_record(row, f"{path}, line {number}") for number, row in numbered]
    for record in records:
        confined_path(root, record.uri)
    return records


def _find(root: Path, file: str) -> Path:
    if file:
        path = confined_path(root, file)
        if not path.is_file():
            raise DataError(f"there is no manifest {path}: write it, or name another file")
        return path
    for name in FILE_NAMES:
        if (root / name).is_file():
            return root / name
    raise DataError(f"dataset root {root} holds neither {' nor '.join(FILE_NAMES)}: write one of them")


def _read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number} is not JSON ({error}): write one object a line") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number} must be a JSON object, got {type(row).__name__}")
            yield number, row


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of one video, wherever they stand, become one; all but the caption must agree."""
    merged: dict[str, tuple[int, dict[str, Any]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(
                    f"{where} must have {len(reader.fieldnames or ())} cells as the header has: quote commas"
                )
            caption = row.pop("caption", "")
            plain = {name: _from_cell(name, cell, where) for name, cell in row.items() if cell != ""}
            number, first = merged.setdefault(plain.get("video_id", ""), (reader.line_num, {**plain, "captions": []}))
            if {**first, "captions": []} != {**plain, "captions": []}:
                raise DataError(
                    f"{where} must agree with line {number} on {plain.get('video_id')!r} but for its caption"
                )
            if caption:
                first["captions"].append(caption)
    yield from merged.values()


def _from_cell(name: str, cell: str, where: str) -> Any:
    try:
        if name in ("start_seconds", "end_seconds"):
            return float(cell)
        return json.loads(cell) if name == "extra" else cell
    except ValueError as error:
        raise DataError(f"{where}: {name} must be a number or a JSON object, got {cell!r}") from error


def _to_record(row: dict[str, Any], where: str) -> VideoRecord:
    for name in row:
        if name not in _FIELDS:
            raise DataError(
                f"{where}: unknown field {name!r}; allowed are {', '.join(_FIELDS)}.{did_you_mean(name, _FIELDS)}"
            )
    for name in _REQUIRED:
        if name not in row:
            raise DataError(f"{where}: the field {name!r} is missing")
    for name, value in row.items():
        allowed = _TYPES.get(name, (str,))
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise DataError(f"{where}: {name} must be {allowed[0].__name__}, got {value!r}")
    captions = row.get("captions", [])
    if not all(isinstance(caption, str) for caption in captions):
        raise DataError(f"{where}: captions must be a list of strings, got {captions!r}")
    try:
        return VideoRecord(**{**row, "captions": tuple(captions)})
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error

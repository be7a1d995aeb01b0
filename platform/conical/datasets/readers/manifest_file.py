"""`manifest`: a list of videos that the user wrote, in the dataset's root.

`manifest.jsonl`: one object a video with the fields of `VideoRecord`; `captions` is a list.

`manifest.csv`: the same columns with a header, but `caption` in place of `captions`: a video takes as many rows as it
has captions, wherever they stand. `extra` holds a JSON object. An empty cell is a field left out.

`manifest.parquet`: the columns of either; nulls are fields left out, and so is NaN, which is what data frames write.

Without `uri` a video is found by its id.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from conical.core.errors import DataError
from conical.core.options import did_you_mean
from conical.core.records import VideoRecord
from conical.datasets.addresses import confined_path
from conical.datasets.annotations import Annotations
from conical.datasets.readers.annotation_entries import to_record
from conical.datasets.readers.annotation_files import parse_json
from conical.datasets.readers.csv_files import column_names, csv_rows, open_csv

FILE_NAMES = ("manifest.jsonl", "manifest.csv", "manifest.parquet")
_FIELDS = tuple(field.name for field in fields(VideoRecord))
_REQUIRED = tuple(
    field.name
    for field in fields(VideoRecord)
    if field.default is MISSING and field.default_factory is MISSING and field.name != "uri"
)
_TYPES: dict[str, tuple[type, ...]] = {
    "captions": (list,),
    "start_seconds": (int, float),
    "end_seconds": (int, float, type(None)),
    "extra": (dict,),
}
# Where a row stands, for messages, and its fields
_Row = tuple[str, dict[str, Any]]


def read_manifest_file(root: str | Path, *, file: str = "") -> Annotations:
    """Read a user's list of videos.

    Args:
        root: folder of the dataset; addresses are relative to it and may not leave it.
        file: name of the list under `root`; "" takes the one of `FILE_NAMES` that is there.

    Returns:
        One record per video, in the order of the list.

    Raises:
        DataError: there is no list or more than one, or a row of it is wrong; the message names the row.
    """
    path = _find(Path(root), file)
    readers: dict[str, Callable[[Path], Iterator[_Row]]] = {
        ".jsonl": _read_json_lines,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    if path.suffix not in readers:
        raise DataError(f"a manifest must be a .jsonl, .csv or .parquet file, got {path.name!r}: convert it")
    try:
        rows = list(readers[path.suffix](path))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not UTF-8 text in its format ({error}): save it anew") from error
    records = tuple(_to_record(row, where) for where, row in rows)
    for record in records:
        if record.uri:
            confined_path(root, record.uri)
    return Annotations(videos=records)


def _find(root: Path, file: str) -> Path:
    if file:
        path = confined_path(root, file)
        if not path.is_file():
            raise DataError(f"there is no manifest {path}: write it, or name another file")
        return path
    held = [name for name in FILE_NAMES if (root / name).is_file()]
    if not held:
        raise DataError(f"dataset root {root} holds none of {', '.join(FILE_NAMES)}: write one of them")
    if len(held) > 1:
        raise DataError(f"dataset root {root} holds {' and '.join(held)}: name one of them (--option file={held[0]})")
    return root / held[0]


def _read_json_lines(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            row = parse_json(line, where, advice="write one object per line", constant=float)
            if not isinstance(row, dict):
                raise DataError(f"{where} must be a JSON object, got {type(row).__name__}")
            yield where, row


def _read_csv(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = open_csv(file)
        if "captions" in column_names(reader, str(path)):
            raise DataError(f"{path} must have a column 'caption' with one per row, got 'captions': rename or split it")
        yield from _merged(_csv_rows(reader, path))


def _csv_rows(reader: csv.DictReader[str], path: Path) -> Iterator[_Row]:
    for line, row in csv_rows(reader, str(path)):
        where = f"{path}, line {line}"
        yield where, {name: _from_cell(name, cell, where) for name, cell in row.items() if cell != ""}


def _read_parquet(path: Path) -> Iterator[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if {"caption", "captions"} <= set(file.schema_arrow.names):
                raise DataError(f"{path} must have a column 'caption' or 'captions', got both: remove one")
            has_caption = "caption" in file.schema_arrow.names
            rows = _parquet_rows((row for batch in file.iter_batches() for row in batch.to_pylist()), path)
            yield from _merged(rows) if has_caption else rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({' '.join(str(error).split())}): write it anew") from error


def _parquet_rows(rows: Iterable[dict[str, Any]], path: Path) -> Iterator[_Row]:
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        given = {name: value for name, value in row.items() if not _is_null(value)}
        if isinstance(given.get("extra"), str):
            given["extra"] = _from_cell("extra", given["extra"], where)
        yield where, given


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _merged(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Rows of one video become one; all but the caption must agree."""
    videos: dict[str, _Row] = {}
    for where, row in rows:
        caption = row.pop("caption", None)
        if "video_id" not in row:
            yield where, row  # a later check names the missing field
            continue
        first_place, first = videos.setdefault(row["video_id"], (where, {**row, "captions": []}))
        if {**first, "captions": []} != {**row, "captions": []}:
            raise DataError(
                f"{where} must agree with {first_place.rpartition(', ')[2]} on {row['video_id']!r} but for its caption"
            )
        if caption is not None:
            first["captions"].append(caption)
    yield from videos.values()


def _from_cell(name: str, cell: str, where: str) -> Any:
    if name == "extra":
        return parse_json(cell, f"{where}: extra", advice="write one object", constant=float)
    try:
        return float(cell) if name in ("start_seconds", "end_seconds") else cell
    except ValueError as error:
        raise DataError(f"{where}: {name} must be a number, got {cell!r}") from error


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
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError(f"{where}: {name} must be finite, got {value!r}: leave it out for the end of the file")
    try:
        json.dumps(row.get("extra"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: extra must hold JSON values ({error}): turn them into text or numbers") from error
    captions = row.get("captions", [])
    if not all(isinstance(caption, str) for caption in captions):
        raise DataError(f"{where}: captions must be a list of strings, got {captions!r}")
    return to_record(where, **{**row, "captions": tuple(captions)})

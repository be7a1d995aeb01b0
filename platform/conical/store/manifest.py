"""The manifest of a dataset: one row per video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from conical.core.errors import StoreError
from conical.core.hashing import canonical_json, stable_hash
from conical.core.records import VideoRecord
from conical.store.parts import read_table, write_table

_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("split", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("source_id", pa.string()),
        ("extra", pa.string()),
    ]
)


def write_manifest(path: str | Path, records: Sequence[VideoRecord]) -> None:
    """Write the manifest, replacing an older one.

    Args:
        records: the videos, in the order that is kept.

    Raises:
        StoreError: it cannot be written.
    """
    rows = [{**asdict(record), "extra": canonical_json(record.extra)} for record in records]
    write_table(Path(path), pa.Table.from_pylist(rows, schema=_SCHEMA))


def read_manifest(path: str | Path) -> list[VideoRecord]:
    """Read a manifest.

    Raises:
        StoreError: it is absent or damaged, or a row is impossible.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"there is no manifest {path}: run ingest first")
    records = []
    for row in read_table(path, columns=_SCHEMA.names).to_pylist():
        try:
            row |= {"captions": tuple(row["captions"]), "extra": json.loads(row["extra"])}
            records.append(VideoRecord(**row))
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"manifest {path} has an impossible row ({error}): delete it and run ingest again"
            ) from error
    return records


def manifest_hash(records: Sequence[VideoRecord]) -> str:
    """Content address of a manifest, whatever the order of its rows."""
    return stable_hash(sorted((asdict(record) for record in records), key=lambda row: row["video_id"]))

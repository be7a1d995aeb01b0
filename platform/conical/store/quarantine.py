"""Failures as Parquet: which inputs were set aside, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa

from conical.core.records import Failure
from conical.store.parts import read_table, write_table

_COLUMNS = tuple(field.name for field in fields(Failure))
_SCHEMA = pa.schema([(name, pa.string()) for name in (*_COLUMNS, "fingerprint")])


def write_failure_file(path: Path, failures: Sequence[Failure], fingerprints: Mapping[str, str]) -> None:
    """Replace the file by these failures; none removes it.

    Args:
        fingerprints: video id to fingerprint of the file that failed, "" where there was none.
    """
    if not failures:
        path.unlink(missing_ok=True)
        return
    rows = [{**asdict(failure), "fingerprint": fingerprints.get(failure.video_id, "")} for failure in failures]
    write_table(path, pa.Table.from_pylist(rows, schema=_SCHEMA))


def read_failure_file(path: Path) -> list[tuple[Failure, str]]:
    """Failures with the fingerprint of the file that failed; empty if there is no such file.

    Raises:
        StoreError: the file is damaged.
    """
    if not path.is_file():
        return []
    rows = read_table(path, columns=_SCHEMA.names).to_pylist()
    return [(Failure(**{name: row[name] for name in _COLUMNS}), row["fingerprint"]) for row in rows]

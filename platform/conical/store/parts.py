"""Parquet files that are written once, whole or not at all. The only place that calls pyarrow's reader and writer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conical.core.atomic import atomic_path
from conical.core.errors import StoreError


def list_parts(folder: Path, prefix: str) -> list[Path]:
    """Files `<prefix>-*.parquet` by name; half-written ones start with a dot and are not among them."""
    return sorted(folder.glob(f"{prefix}-*.parquet"))


def write_table(path: Path, table: pa.Table) -> None:
    """Write one Parquet file.

    Args:
        path: where; its folder is made.

    Raises:
        StoreError: it cannot be written.
    """
    with _writable(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_row_groups(path: Path, tables: Iterable[pa.Table], *, schema: pa.Schema) -> None:
    """Write one Parquet file whose bulk is pixels, on which compression, dictionaries and statistics are time lost.

    Args:
        path: where; its folder is made.
        tables: each is a row group, which is what can be read alone; taken one at a time.

    Raises:
        StoreError: it cannot be written.
    """
    with (
        _writable(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="none", use_dictionary=False, write_statistics=False) as writer,
    ):
        for table in tables:
            writer.write_table(table)


@contextmanager
def _writable(path: Path) -> Iterator[Path]:
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}): free space or mend its folder"
        ) from error


def read_table(path: Path, *, columns: Sequence[str] | None = None, row_group: int | None = None) -> pa.Table:
    """Read one Parquet file, or some of its columns, or one of its row groups.

    Raises:
        StoreError: it is damaged or lacks a column.
    """
    wanted = None if columns is None else list(columns)
    try:
        if row_group is None:
            with pq.ParquetFile(path) as file:
                table = file.read(columns=wanted)
        else:
            # a row group is read at once: what would share it out among threads takes longer than reading it
            with pq.ParquetFile(path, pre_buffer=False) as file:
                table = file.read_row_group(row_group, columns=wanted, use_threads=False)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is gone, removed since it was listed: run the step again") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StoreError(f"{path} cannot be read ({reason}): delete this file and run the step again") from error
    if missing := [name for name in columns or () if name not in table.column_names]:
        raise StoreError(f"{path} lacks the column {missing[0]!r}: delete this file and run the step again")
    return table


def remove_leftovers(folder: Path, *, older_than_seconds: float = 3600.0) -> int:
    """Remove temporary files that killed writers left in `folder`; younger ones may belong to a living writer.

    Returns:
        How many were removed.
    """
    count = 0
    for path in folder.glob(".*.parquet"):
        if time.time() - path.stat().st_mtime >= older_than_seconds:
            path.unlink(missing_ok=True)
            count += 1
    return count

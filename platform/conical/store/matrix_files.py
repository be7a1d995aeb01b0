"""Matrices and lists of correct columns as other people keep them: NumPy, Parquet, JSON. Nothing is ever unpickled."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DataError
from conical.core.hashing import file_fingerprint


@dataclass(frozen=True, kw_only=True, eq=False)
class MatrixFile:
    """A matrix out of a file.

    Args:
        name: of the array, where the file can hold several; else "".
        content_hash: of the file's bytes.
        values: (row, column), float or integer of any width.
    """

    path: Path
    name: str
    content_hash: str
    values: NDArray[Any] = field(repr=False)

    def __str__(self) -> str:
        rows, columns = self.values.shape
        label = f"{self.path}:{self.name}" if self.name else str(self.path)
        return f"{label} ({rows} x {columns}, {self.values.dtype}, sha256 {self.content_hash})"


def read_matrix(address: str | Path) -> MatrixFile:
    """Read a matrix of real numbers.

    Args:
        address: a `.npy` file; a `.npz` file with one array, or `file.npz:name`; a Parquet file with a column for each
            column of the matrix, or with a single column of lists, one list per row.

    Returns:
        The values as stored, with the file's hash.

    Raises:
        DataError: no such file, another format, pickled objects, not two dimensions, or not real numbers.
    """
    path, name = _split(str(address))
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DataError(f"matrix {path} must be one of {', '.join(_READERS)}; got {path.suffix or 'no suffix'}")
    if name and path.suffix != ".npz":
        raise DataError(f"matrix {address}: only a .npz file holds several arrays; leave out ':{name}'")
    try:
        name, values = reader(path, name)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"matrix {path} cannot be read ({error.strerror})") from error
        reason = str(error).splitlines()[0]
        raise DataError(f"matrix {path} is no whole {path.suffix} file of plain numbers ({reason})") from error
    if values.ndim != 2 or min(values.shape) == 0 or values.dtype.kind not in "fiu":
        raise DataError(
            f"matrix {address} must be real numbers in two dimensions with at least one row and one column, "
            f"got {values.dtype} of shape {values.shape}"
        )
    return MatrixFile(path=path, name=name, content_hash=file_fingerprint(path), values=values)


def read_positives(path: Path, *, num_rows: int, num_columns: int) -> list[list[int]]:
    """Read which columns are correct for each row.

    Args:
        path: JSON: `[3, 0, 1]` (one column per row), `[[3], [0, 2], [1]]` (some columns per row) or `{"0": [3], ...}`
            (row to columns); numbers count from 0.
        num_rows: rows of the matrix; each needs an entry.
        num_columns: columns of the matrix.

    Returns:
        The columns of each row, in the order of the rows.

    Raises:
        DataError: not such a file, or a row or column is missing, repeated or too many.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: _once_each(path, pairs))
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"positives {path} cannot be read as JSON ({error})") from error
    if isinstance(entries, dict):
        entries = _in_order(path, entries, num_rows=num_rows)
    if not isinstance(entries, list) or len(entries) != num_rows:
        got = f"{len(entries)} entries" if isinstance(entries, list) else type(entries).__name__
        raise DataError(f"positives {path} must have one entry for each of the {num_rows} rows, got {got}")
    positives = [entry if isinstance(entry, list) else [entry] for entry in entries]
    for row, columns in enumerate(positives):
        if not columns or any(type(column) is not int or not 0 <= column < num_columns for column in columns):
            raise DataError(
                f"positives {path}: row {row} must name columns 0 to {num_columns - 1}, at least one, got {columns}"
            )
    return positives


def _once_each(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    columns_of_row: dict[str, Any] = {}
    for row, columns in pairs:
        if row in columns_of_row:
            # the JSON reader would keep the last and say nothing
            raise DataError(
                f"positives {path} must name each row once, got row {row!r} with {columns_of_row[row]} and with "
                f"{columns}: put its columns into one list"
            )
        columns_of_row[row] = columns
    return columns_of_row


def _in_order(path: Path, columns_of_row: dict[str, Any], *, num_rows: int) -> list[Any]:
    wanted = [str(row) for row in range(num_rows)]
    missing = [row for row in wanted if row not in columns_of_row]
    unknown = [row for row in columns_of_row if row not in set(wanted)]
    if missing or unknown:
        what = f"row {missing[0]} is missing" if missing else f"there is no row {unknown[0]!r}"
        raise DataError(f"positives {path} must name each of the rows 0 to {num_rows - 1} once: {what}")
    return [columns_of_row[row] for row in wanted]


def _split(address: str) -> tuple[Path, str]:
    """File and name of `file.npz:name`; a file that is really called so wins."""
    head, colon, name = address.rpartition(":")
    if colon and head.endswith((".npz", ".npy", ".parquet")) and not Path(address).exists():
        return Path(head), name
    return Path(address), ""


def _from_numpy(path: Path, name: str) -> tuple[str, NDArray[Any]]:
    # opened here: NumPy leaves a file open that turns out to be no zip archive
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return "", loaded
        names = list(loaded)
        if not name and len(names) != 1:
            raise DataError(f"matrix {path} holds {len(names)} arrays: name one of {', '.join(names)} as {path}:NAME")
        if name and name not in names:
            raise DataError(f"matrix {path} has no array {name!r}: it holds {', '.join(names)}")
        chosen = name or names[0]
        return chosen, loaded[chosen]


def _from_parquet(path: Path, name: str) -> tuple[str, NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError(f"matrix {path} is empty: {table.num_rows} rows, {table.num_columns} columns")
    if table.num_columns == 1 and _is_list(table.schema[0].type):
        lists = table.column(0)
        if lists.null_count:
            empty = lists.is_null().to_pylist().index(True)
            raise DataError(
                f"matrix {path} must have a list in each row, got none (null) in row {empty}, counted from 0"
            )
        rows = [np.asarray(row) for row in lists.to_numpy()]
        widths = sorted({row.shape for row in rows})
        if len(widths) != 1:
            raise DataError(f"matrix {path} must have lists of one length, got {widths[0]} to {widths[-1]}")
        return name, np.stack(rows)
    for column in table.schema:
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"matrix {path} must have columns of numbers only, got {column.name!r} of {column.type}")
        if table.column(column.name).null_count:
            raise DataError(f"matrix {path} must have no empty cell, got one in column {column.name!r}")
    return name, np.column_stack([column.to_numpy() for column in table.columns])


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


_Reader = Callable[[Path, str], tuple[str, NDArray[Any]]]
_READERS = cast(
    "dict[str, _Reader]",
    {".npy": _from_numpy, ".npz": _from_numpy, ".parquet": _from_parquet},
)

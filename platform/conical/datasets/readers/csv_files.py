"""CSV as annotation files have it: a header, cells of any length, and messages that name the line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from conical.core.errors import DataError
from conical.datasets.readers.annotation_files import AnnotationFile, read_lines, read_text

_LONGEST_CELL = 2**31 - 1  # what a C long holds everywhere
_SHOWN = 40  # letters of a name in a message, and names


def read_rows(file: AnnotationFile, *columns: str) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header, with the numbers of their last lines.

    Args:
        columns: those that must be there.

    Raises:
        DataError: a column is missing, or a row has not as many cells as the header.
    """
    reader = open_csv(io.StringIO(read_text(file), newline=""))
    try:
        names = column_names(reader, str(file))
        for column in columns:
            if column not in names:
                held = listed_names(names)
                raise DataError(f"{file} must have a column {column!r}, it has {held}: take the published file")
        return list(csv_rows(reader, str(file)))
    except csv.Error as error:
        raise DataError(f"{file} is not CSV after line {reader.line_num} ({error}): download it again") from error


def listed_names(names: Sequence[str]) -> str:
    """Names of a file for a message; a file that is no table may have one of a megabyte."""
    short = [name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…" for name in names[:_SHOWN]]
    return ", ".join(short) or "none"


def open_csv(stream: Iterable[str]) -> csv.DictReader[str]:
    """A reader of CSV with a header; cells may be of any length.

    Args:
        stream: its lines, opened with `newline=""`.
    """
    csv.field_size_limit(_LONGEST_CELL)  # of the whole process; Python's own limit is 131,072 characters
    return csv.DictReader(stream)


def column_names(reader: csv.DictReader[str], where: str) -> Sequence[str]:
    """The header of a CSV file.

    Args:
        where: the file, for the message.

    Raises:
        DataError: its cells are separated by something else than commas.
    """
    names = reader.fieldnames or ()
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise DataError(f"{where} must have a header like 'video_id,split', got {names[0]!r}: separate cells by commas")
    return names


def csv_rows(reader: csv.DictReader[str], where: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, each with the number of its last line.

    Args:
        where: the file, for the message.

    Raises:
        DataError: a row has not as many cells as the header.
    """
    for row in reader:
        if None in row or None in row.values():
            raise DataError(
                f"{where}, line {reader.line_num} must have {len(reader.fieldnames or ())} cells as the header has: "
                "quote commas"
            )
        yield reader.line_num, row


def read_ids(file: AnnotationFile) -> tuple[str, ...]:
    """The video ids of a list: the column `video_id` of a CSV file, or a line each of a text file."""
    if file.name.lower().endswith(".csv"):
        return tuple(row["video_id"] for _, row in read_rows(file, "video_id"))
    return tuple(line for _, line in read_lines(file))

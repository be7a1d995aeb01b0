"""The caption ledger: every supplement that was ever written for a dataset.

    part-<name>-<content>.parquet      a row a (video, prompt, sample)
    failures-<name>.parquet            what could not be captioned

Rows are found by `key`, the hash of all that determines the text; changed settings add rows and never replace any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa

from conical.core.errors import StoreError
from conical.core.hashing import stable_hash
from conical.core.records import CaptionRecord, Failure
from conical.store.parts import list_parts, read_table, remove_leftovers, write_table
from conical.store.quarantine import read_failure_file, write_failure_file

_ARROW_TYPES = {"str": pa.string(), "int": pa.int64(), "bool": pa.bool_(), "float": pa.float64()}
_SCHEMA = pa.schema([(field.name, _ARROW_TYPES[str(field.type)]) for field in fields(CaptionRecord)])


class CaptionLedger:
    """Supplements of one dataset.

    Args:
        path: the folder; made when first written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._known_parts: dict[Path, list[CaptionRecord]] = {}

    def write_part(self, name: str, records: Sequence[CaptionRecord]) -> None:
        """Add supplements.

        Args:
            name: of the unit of work; the file's name is this and a hash of keys and texts, so the same rows written
                twice are one file.
            records: the rows; none writes nothing.

        Raises:
            StoreError: it cannot be written.
        """
        if not records:
            return
        ordered = sorted(records, key=lambda record: record.key)
        content = stable_hash([[record.key, record.status, record.text] for record in ordered])
        path = self.path / f"part-{name}-{content}.parquet"
        if not path.is_file():
            write_table(path, pa.Table.from_pylist([asdict(record) for record in ordered], schema=_SCHEMA))

    def write_failures(self, name: str, failures: Sequence[Failure]) -> None:
        """Set the failures of one unit of work, in place of those written under this name before; none removes them."""
        write_failure_file(self.path / f"failures-{name}.parquet", failures, {})

    def records(self) -> list[CaptionRecord]:
        """All rows, by video, prompt, sample and key.

        Raises:
            StoreError: a part is damaged, or two parts give one key different texts.
        """
        return sorted(self._by_key().values(), key=lambda row: (row.video_id, row.prompt_id, row.sample, row.key))

    def keys(self) -> frozenset[str]:
        """Keys of all rows."""
        return frozenset(self._by_key())

    def failures(self) -> list[Failure]:
        """What could not be captioned, by video and message."""
        failures = {row[0] for path in list_parts(self.path, "failures") for row in read_failure_file(path)}
        return sorted(failures, key=lambda failure: (failure.video_id, failure.kind, failure.message))

    def content_hash(self) -> str:
        """Hash of all keys and texts, whatever the order, the parts and the time they took."""
        return stable_hash([[key, row.status, row.text] for key, row in sorted(self._by_key().items())])

    def settle(self) -> None:
        """Sweep away what killed writers left. For the one process that drives a step."""
        if self.path.is_dir():
            remove_leftovers(self.path)

    def _by_key(self) -> dict[str, CaptionRecord]:
        """Rows by key; of equal rows in several parts the one of the first part by name. Parts are read once."""
        self._known_parts = {
            part: self._known_parts.get(part) or _read_part(part) for part in list_parts(self.path, "part")
        }
        rows: dict[str, CaptionRecord] = {}
        places: dict[str, Path] = {}
        for part, records in self._known_parts.items():
            for record in records:
                first = rows.setdefault(record.key, record)
                place = places.setdefault(record.key, part)
                if (first.text, first.status) != (record.text, record.status):
                    raise StoreError(
                        f"key {record.key} of {record.video_id!r} has different texts in {place} and {part.name}: "
                        "delete one of the two files"
                    )
        return rows


def _read_part(path: Path) -> list[CaptionRecord]:
    return [CaptionRecord(**row) for row in read_table(path, columns=_SCHEMA.names).to_pylist()]

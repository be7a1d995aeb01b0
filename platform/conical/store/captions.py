"""The caption ledger: every supplement that was ever written for a dataset.

    part-<name>-<content>.parquet      one row per (video, prompt, sample) that was written
    failures-<name>.parquet            what could not be captioned, and why

Rows are found by `key`, the hash of all that determines the text; changed settings add rows and never replace any. A
failure counts until its key has a text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa

from conical.core.errors import StoreError
from conical.core.hashing import stable_hash
from conical.core.records import CaptionRecord, FailedCaption
from conical.store.parts import list_parts, read_table, remove_leftovers, write_table

_ARROW_TYPES = {"str": pa.string(), "int": pa.int64(), "bool": pa.bool_(), "float": pa.float64()}
_SCHEMA, _FAILURE_SCHEMA = (
    pa.schema([(field.name, _ARROW_TYPES[str(field.type)]) for field in fields(kind)])
    for kind in (CaptionRecord, FailedCaption)
)


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
        assert all(record.text for record in records), name
        ordered = sorted(records, key=lambda record: record.key)
        content = stable_hash([[record.key, record.text] for record in ordered])
        path = self.path / f"part-{name}-{content}.parquet"
        if not path.is_file():
            write_table(path, pa.Table.from_pylist([asdict(record) for record in ordered], schema=_SCHEMA))

    def write_failures(self, name: str, failures: Sequence[FailedCaption], *, asked: Collection[str]) -> None:
        """Set what failed of one unit of work.

        Args:
            name: of the unit; failures that were written under it before stay where they were not asked again.
            failures: what failed now.
            asked: keys that were tried now.

        Raises:
            StoreError: it cannot be read or written.
        """
        path = self.path / f"failures-{name}.parquet"
        kept = [failure for failure in _read_failures(path) if failure.key not in asked] if path.is_file() else []
        if rows := [asdict(failure) for failure in (*kept, *failures)]:
            write_table(path, pa.Table.from_pylist(rows, schema=_FAILURE_SCHEMA))
        else:
            path.unlink(missing_ok=True)

    def records(self) -> list[CaptionRecord]:
        """All rows, by video, prompt, sample and key.

        Raises:
            StoreError: a part is damaged, or two parts give one key different texts.
        """
        return sorted(self._by_key().values(), key=lambda row: (row.video_id, row.prompt_id, row.sample, row.key))

    def keys(self) -> frozenset[str]:
        """Keys of all rows."""
        return frozenset(self._by_key())

    def failures(self) -> list[FailedCaption]:
        """What was tried and has no text, with the latest reason, by video, prompt, sample and key."""
        written = self._by_key()
        paths = sorted(list_parts(self.path, "failures"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        latest = {failure.key: failure for path in paths for failure in _read_failures(path)}
        failed = [failure for key, failure in latest.items() if key not in written]
        return sorted(failed, key=lambda row: (row.video_id, row.prompt_id, row.sample, row.key))

    def content_hash(self) -> str:
        """Hash of all keys and texts, whatever the order, the parts and the time they took."""
        return stable_hash([[key, row.text] for key, row in sorted(self._by_key().items())])

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
                if first.text != record.text:
                    raise StoreError(
                        f"key {record.key} of {record.video_id!r} has different texts in {place} and {part.name}: "
                        "delete one of the two files"
                    )
        return rows


def _read_part(path: Path) -> list[CaptionRecord]:
    return [CaptionRecord(**row) for row in read_table(path, columns=_SCHEMA.names).to_pylist() if row["text"]]


def _read_failures(path: Path) -> list[FailedCaption]:
    return [FailedCaption(**row) for row in read_table(path, columns=_FAILURE_SCHEMA.names).to_pylist()]

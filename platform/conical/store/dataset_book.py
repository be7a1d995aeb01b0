"""What the import of a dataset counted, beside its manifest: later numbers say by it whether they are partial."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conical.core.atomic import write_text_atomic
from conical.core.errors import StoreError
from conical.core.records import DatasetSummary, SplitCount


@dataclass(frozen=True, kw_only=True)
class DatasetBook:
    """Content of a dataset's `dataset.json`.

    Args:
        summary: what the import counted.
        root: folder that the manifest's addresses are relative to.
        reader: options of the reader.
        manifest_hash: content address of the manifest that was written with it.
    """

    summary: DatasetSummary
    root: str
    reader: dict[str, str]
    manifest_hash: str

    @property
    def splits(self) -> dict[str, SplitCount]:
        """Counts of videos by split."""
        return self.summary.splits

    @property
    def is_partial(self) -> bool:
        """Whether a video that should be there has no file."""
        return self.summary.is_partial


def write_dataset_book(path: str | Path, book: DatasetBook) -> None:
    """Replace the file, whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        write_text_atomic(Path(path), json.dumps(asdict(book), ensure_ascii=False, indent=1))
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}): free space or mend its folder") from error


def read_dataset_book(path: str | Path) -> DatasetBook:
    """Read the file.

    Raises:
        StoreError: it is absent or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"there is no {path}: import the dataset first (conical data import, or ingest)")
    try:
        book: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        plain = book.pop("summary")
        plain["splits"] = {split: SplitCount(**count) for split, count in plain["splits"].items()}
        summary = DatasetSummary(**plain | {name: tuple(plain[name]) for name in ("missing", "notes")})
        return DatasetBook(summary=summary, **book)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): delete it and import the dataset again") from error

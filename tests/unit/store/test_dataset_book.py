from __future__ import annotations

from pathlib import Path

import pytest

from conical.core.errors import StoreError
from conical.core.records import DatasetSummary, SplitCount
from conical.store import DatasetBook, read_dataset_book, write_dataset_book


def _book() -> DatasetBook:
    summary = DatasetSummary(
        name="mine",
        variant="small",
        splits={"test": SplitCount(expected=3, found=2)},
        num_captions=5,
        num_blank_captions=1,
        num_duplicate_captions=0,
        lists={"test": "abc"},
        missing=("c",),
        notes=("a note with ü",),
    )
    return DatasetBook(summary=summary, root="/data/mine", reader={"split": "small"}, manifest_hash="0123")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_dataset_book(tmp_path / "deep" / "dataset.json", _book())
    found = read_dataset_book(tmp_path / "deep" / "dataset.json")
    assert found == _book()
    assert found.is_partial
    assert found.splits["test"].expected == 3


def test_an_absent_book_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="import the dataset first"):
        read_dataset_book(tmp_path / "dataset.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"summary": {"splits": 3}}'])
def test_a_damaged_book_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(StoreError, match=r"cannot be read .* delete it and import the dataset again"):
        read_dataset_book(tmp_path / "dataset.json")


def test_a_book_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_dataset_book(tmp_path / "file" / "dataset.json", _book())

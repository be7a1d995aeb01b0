from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conical.core.errors import StoreError
from conical.core.records import VideoRecord
from conical.store import manifest_hash, read_manifest, write_manifest

RECORDS = [
    VideoRecord(
        video_id="b",
        uri="b.mp4",
        split="test",
        captions=("Ein Würfel", ""),
        start_seconds=1.5,
        end_seconds=3.0,
        source_id="yt",
        extra={"truth": [1, {"x": None}]},
    ),
    VideoRecord(video_id="a", uri="a.mp4", split="train"),
]


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    write_manifest(tmp_path / "new" / "manifest.parquet", RECORDS)
    assert read_manifest(tmp_path / "new" / "manifest.parquet") == RECORDS


def test_the_hash_forgets_the_order_and_nothing_else() -> None:
    assert manifest_hash(RECORDS) == manifest_hash(RECORDS[::-1])
    first, second = RECORDS
    changes = {
        "uri": "c.mp4",
        "split": "val",
        "captions": ("x",),
        "start_seconds": 1.0,
        "end_seconds": None,
        "extra": {},
    }
    changed = [manifest_hash([replace(first, **{name: value}), second]) for name, value in changes.items()]
    assert len({manifest_hash(RECORDS), *changed}) == 1 + len(changes)


def test_an_absent_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no manifest .*manifest.parquet: run ingest first"):
        read_manifest(tmp_path / "manifest.parquet")


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, RECORDS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        StoreError, match=r"manifest.parquet cannot be read .*: delete this file and run the step again"
    ):
        read_manifest(path)


def test_a_manifest_with_an_impossible_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, RECORDS)
    table = pq.read_table(path)
    broken = table.set_column(2, "split", pa.array(["test", "training"]))
    pq.write_table(broken, path)
    with pytest.raises(StoreError, match=r"has an impossible row .split of a must be one of"):
        read_manifest(path)


def test_a_manifest_without_a_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, RECORDS)
    pq.write_table(pq.read_table(path).drop_columns(["captions"]), path)
    with pytest.raises(StoreError, match="lacks the column 'captions'"):
        read_manifest(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"manifest.parquet cannot be written .*: free space or mend its folder"):
        write_manifest(tmp_path / "file" / "manifest.parquet", RECORDS)

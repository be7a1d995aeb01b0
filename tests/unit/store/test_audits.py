from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conical.core.errors import StoreError
from conical.core.findings import Finding
from conical.core.hashing import stable_hash
from conical.store.audits import LeakFree, read_findings, read_leak_free, write_findings, write_leak_free

FINDINGS = [
    Finding(kind="overlap", split_a="test", video_a="a", split_b="train", video_b="b", detail="2 s", value=2.0),
    Finding(kind="no-captions", split_a="val", video_a="ü"),
]
LEAK_FREE = LeakFree(video_ids=("a", "ü"), num_test=3, rules=("no shared source",), manifest_hash="m")


def test_findings_come_back_as_they_were(tmp_path: Path) -> None:
    assert write_findings(tmp_path / "audit", FINDINGS) == tmp_path / "audit" / "findings.parquet"
    assert read_findings(tmp_path / "audit") == FINDINGS
    write_findings(tmp_path / "audit", [])
    assert read_findings(tmp_path / "audit") == []


def test_a_leak_free_list_comes_back_as_it_was(tmp_path: Path) -> None:
    write_leak_free(tmp_path / "audit", LEAK_FREE)
    assert read_leak_free(tmp_path / "audit") == LEAK_FREE
    nothing = LeakFree(video_ids=(), num_test=3, rules=(), manifest_hash="m")
    write_leak_free(tmp_path / "audit", nothing)
    assert read_leak_free(tmp_path / "audit") == nothing


def test_the_hash_of_a_leak_free_list_is_that_of_its_ids() -> None:
    assert LEAK_FREE.ids_hash == stable_hash(["a", "ü"])
    assert "ü" not in repr(LEAK_FREE)


@pytest.mark.parametrize("read", [read_findings, read_leak_free])
def test_what_no_audit_left_cannot_be_read(tmp_path: Path, read) -> None:
    with pytest.raises(StoreError, match=r"there is no .*\.parquet: run conical data audit first"):
        read(tmp_path)


def test_a_list_that_someone_edited_is_refused(tmp_path: Path) -> None:
    path = write_leak_free(tmp_path, LEAK_FREE)
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1), path)
    with pytest.raises(StoreError, match=r"no leak-free list \(its ids have another hash .*: run conical data audit"):
        read_leak_free(tmp_path)
    pq.write_table(pa.table({"video_id": ["a"]}), path)
    with pytest.raises(
        StoreError, match=r"is no leak-free list \(it does not say how it was made\): run conical data audit again"
    ):
        read_leak_free(tmp_path)

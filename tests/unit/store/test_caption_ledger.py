from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from conical.core.errors import StoreError
from conical.core.records import CaptionRecord, FailedCaption
from conical.store import CaptionLedger


def _caption(key: str, *, video_id: str = "v", text: str = "a cat", prompt_id: str = "B") -> CaptionRecord:
    return CaptionRecord(
        key=key,
        video_id=video_id,
        prompt_id=prompt_id,
        prompt_hash="p",
        sample=0,
        text=text,
        captioner="c",
        model="m",
        revision="r",
        frame_recipe="f",
        generation="{}",
        tokens_out=3,
        truncated=False,
        seconds=0.5,
    )


def test_supplements_come_back_as_they_were_in_a_fixed_order(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    rows = [_caption("k3", video_id="b"), _caption("k1", video_id="b", prompt_id="A", text="ein Würfel 🎲")]
    ledger.write_part("0", rows)
    ledger.write_part("1", [_caption("k2", video_id="a", text="a dog")])
    assert [row.key for row in ledger.records()] == ["k2", "k1", "k3"]
    assert set(ledger.records()) == {*rows, _caption("k2", video_id="a", text="a dog")}
    assert ledger.keys() == {"k1", "k2", "k3"}


def test_an_absent_ledger_is_empty(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    assert ledger.records() == []
    assert ledger.failures() == []
    ledger.write_part("0", [])
    assert not (tmp_path / "captions").exists()


def test_the_content_hash_forgets_parts_order_and_time_and_nothing_else(tmp_path: Path) -> None:
    one, two, three = (CaptionLedger(tmp_path / name) for name in ("one", "two", "three"))
    one.write_part("0", [_caption("k1"), _caption("k2")])
    two.write_part("x", [replace(_caption("k2"), seconds=9.0)])
    assert one.content_hash() != two.content_hash()
    two.write_part("y", [_caption("k1")])
    assert one.content_hash() == two.content_hash()
    three.write_part("0", [_caption("k1"), _caption("k2", text="a dog")])
    assert one.content_hash() != three.content_hash()


def test_the_same_rows_written_twice_are_one_untouched_file(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path)
    ledger.write_part("0", [_caption("k1"), _caption("k2")])
    (path,) = tmp_path.glob("part-*")
    os.utime(path, (1, 1))
    ledger.write_part("0", [replace(_caption("k2"), seconds=9.0), _caption("k1")])
    assert list(tmp_path.glob("part-*")) == [path]
    assert path.stat().st_mtime == 1


def test_of_equal_rows_the_first_part_by_name_counts(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path)
    ledger.write_part("1", [replace(_caption("k1"), seconds=2.0)])
    ledger.write_part("0", [replace(_caption("k1"), seconds=1.0)])
    assert [row.seconds for row in ledger.records()] == [1.0]


def test_different_texts_of_one_key_are_refused(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path)
    ledger.write_part("0", [_caption("k1")])
    ledger.write_part("1", [_caption("k1", text="a dog")])
    with pytest.raises(StoreError, match=r"key k1 of 'v' has different texts in .*part-0-.* and part-1-.*: delete one"):
        ledger.records()


def test_a_part_written_by_another_process_is_seen(tmp_path: Path) -> None:
    reader, writer = CaptionLedger(tmp_path), CaptionLedger(tmp_path)
    assert reader.keys() == frozenset()
    writer.write_part("0", [_caption("k1")])
    assert reader.keys() == {"k1"}


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path)
    ledger.write_part("0", [_caption("k1")])
    (path,) = tmp_path.glob("part-*")
    path.write_bytes(b"rubbish")
    with pytest.raises(
        StoreError, match=r"part-0-.*parquet cannot be read .*: delete this file and run the step again"
    ):
        ledger.records()


def _failed(key: str, reason: str = "empty text") -> FailedCaption:
    return FailedCaption(key=key, video_id="v", prompt_id="B", sample=0, reason=reason)


def test_failures_of_a_unit_are_replaced_where_they_were_tried_again(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path)
    ledger.write_failures("0", [_failed("k1"), _failed("k2")], asked={"k1", "k2", "k3"})
    assert ledger.failures() == [_failed("k1"), _failed("k2")]
    ledger.write_failures("0", [_failed("k2", "refusal: no")], asked={"k2"})
    assert ledger.failures() == [_failed("k1"), _failed("k2", "refusal: no")]
    ledger.write_failures("0", [], asked={"k1", "k2"})
    assert ledger.failures() == []
    assert list(tmp_path.iterdir()) == []


def test_a_failure_counts_until_its_key_has_a_text_and_has_one_reason(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path)
    ledger.write_failures("b", [_failed("k1", "server answered 400: no"), _failed("k2")], asked={"k1", "k2"})
    os.utime(tmp_path / "failures-b.parquet", (1, 1))
    # the same key in another unit, as after a prompt was added
    ledger.write_failures("a", [_failed("k1", "refusal: no")], asked={"k1"})
    assert ledger.failures() == [_failed("k1", "refusal: no"), _failed("k2")]
    assert ledger.keys() == frozenset()
    ledger.write_part("0", [_caption("k1")])
    assert ledger.failures() == [_failed("k2")]
    assert [row.key for row in ledger.records()] == ["k1"]


def test_old_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path)
    leftover = tmp_path / ".part-0.dead.parquet"
    leftover.write_bytes(b"PAR1")
    os.utime(leftover, (0, 0))
    assert ledger.records() == []
    ledger.settle()
    assert not leftover.exists()

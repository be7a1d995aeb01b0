from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conical import datasets
from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets import confined_path, read_manifest_file
from conical.store import write_manifest

ROW = {"video_id": "a", "uri": "clips/a.mp4", "split": "train"}


def _write_lines(root: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (root / "manifest.jsonl").write_text("\n".join(lines))
    return root


def nested(depth: int) -> dict[str, object]:
    inner: dict[str, object] = {}
    for _ in range(depth):
        inner = {"x": inner}
    return inner


def _write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)


def test_json_lines_hold_every_field_of_a_record(tmp_path: Path) -> None:
    full = {
        **ROW,
        "captions": ["A cat. ", "一只猫"],
        "start_seconds": 1,
        "end_seconds": 2.5,
        "source_id": "yt1",
        "extra": {"kind": [1]},
    }
    annotations = read_manifest_file(_write_lines(tmp_path, full, "", {**ROW, "video_id": "b"}))
    assert annotations.videos == (
        VideoRecord(**{**full, "captions": ("A cat. ", "一只猫")}),
        VideoRecord(video_id="b", uri="clips/a.mp4", split="train"),
    )


def test_csv_rows_of_one_video_become_one(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "video_id,uri,split,caption,start_seconds,end_seconds\n"
        'a,a.mp4,train,"one, two",0.5,\n'
        "b,b.mp4,test,three,,4\n"
        "a,a.mp4,train,four,0.5,\n"
    )
    assert read_manifest_file(tmp_path).videos == (
        VideoRecord(video_id="a", uri="a.mp4", split="train", captions=("one, two", "four"), start_seconds=0.5),
        VideoRecord(video_id="b", uri="b.mp4", split="test", captions=("three",), end_seconds=4.0),
    )


def test_parquet_holds_a_row_a_video(tmp_path: Path) -> None:
    rows = [
        {**ROW, "captions": ["A cat. ", "一只猫"], "start_seconds": 1.5, "extra": '{"kind": [1]}', "source_id": "yt1"},
        {"video_id": "b", "split": "test", "captions": [], "end_seconds": 2.5},
    ]
    _write_parquet(tmp_path / "manifest.parquet", rows)
    assert read_manifest_file(tmp_path).videos == (
        VideoRecord(**ROW, captions=("A cat. ", "一只猫"), start_seconds=1.5, extra={"kind": [1]}, source_id="yt1"),
        VideoRecord(video_id="b", uri="", split="test", end_seconds=2.5),
    )


def test_parquet_may_hold_a_row_a_caption(tmp_path: Path) -> None:
    rows = [
        {**ROW, "caption": "one", "end_seconds": math.nan},
        {**ROW, "video_id": "b", "caption": None, "end_seconds": 4.0},
        {**ROW, "caption": "two", "end_seconds": math.nan},
    ]
    _write_parquet(tmp_path / "manifest.parquet", rows)
    assert [(r.video_id, r.captions, r.end_seconds) for r in read_manifest_file(tmp_path).videos] == [
        ("a", ("one", "two"), None),
        ("b", (), 4.0),
    ]


def test_the_stores_own_manifest_can_be_read_again(tmp_path: Path) -> None:
    records = [
        VideoRecord(video_id="a", uri="a.mp4", split="train", captions=("x", "x"), extra={"asr": ["hm"], "n": 1.5}),
        VideoRecord(video_id="b", uri="", split="val", start_seconds=0.5, end_seconds=2.0, source_id="s"),
    ]
    write_manifest(tmp_path / "manifest.parquet", records)
    assert list(read_manifest_file(tmp_path).videos) == records


@pytest.mark.parametrize("place", ["jsonl", "csv", "parquet"])
def test_a_video_without_an_address_is_found_by_its_id(tmp_path: Path, place: str) -> None:
    row = {"video_id": "a", "uri": "", "split": "train"}
    if place == "jsonl":
        _write_lines(tmp_path, row)
    elif place == "csv":
        (tmp_path / "manifest.csv").write_text("video_id,split\na,train\n")
    else:
        _write_parquet(tmp_path / "manifest.parquet", [row])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.webm").write_bytes(b"video")
    assert [record.uri for record in datasets.load("manifest", tmp_path)] == ["deep/a.webm"]


def test_blank_captions_are_kept_for_the_import_to_count(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"video")
    (tmp_path / "manifest.csv").write_text('video_id,uri,split,caption\na,a.mp4,test,x\na,a.mp4,test," "\n')
    assert read_manifest_file(tmp_path).videos[0].captions == ("x", " ")
    records, summary = datasets.read_dataset("manifest", tmp_path)
    assert (records[0].captions, summary.num_blank_captions) == (("x",), 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "splt": "x"}, r"line 1: unknown field 'splt'; allowed are video_id, .*Did you mean 'split'"),
        ({"video_id": "a", "uri": "a.mp4"}, "line 1: the field 'split' is missing"),
        ({**ROW, "split": "holdout"}, "line 1: split of a must be one of train, val, test; got 'holdout'"),
        ({**ROW, "captions": "one"}, "line 1: captions must be list, got 'one'"),
        ({**ROW, "captions": [1]}, r"line 1: captions must be a list of strings, got \[1\]"),
        ({**ROW, "start_seconds": True}, "line 1: start_seconds must be int, got True"),
        ({**ROW, "uri": "../a.mp4"}, "uri must stay under the dataset root .*, got '../a.mp4'"),
        ({**ROW, "end_seconds": math.inf}, "line 1: end_seconds must be finite, got inf: leave it out"),
        ({**ROW, "start_seconds": math.nan}, "line 1: start_seconds must be finite, got nan"),
        ({**ROW, "extra": {"x": math.nan}}, "line 1: extra must hold JSON values .*: turn them into text or numbers"),
        ("{", "line 1 is not JSON"),
        ("[" * 5000, r"line 1 is not JSON \(.*recursion.*\): write one object per line"),
        (
            {**ROW, "captions": ["x", "\ud83d"]},
            r"line 1: captions must hold whole characters, .*, got '.ud83d': mend it",
        ),
        ({**ROW, "extra": {"\ud83d": 1}}, r"line 1: extra must hold whole characters"),
        ({**ROW, "end_seconds": 10**400}, r"line 1: end_seconds must hold .*, numbers below 2\*\*63 .*, got 10000"),
        ({**ROW, "extra": {"n": -(10**400)}}, r"line 1: extra must hold .*, got -10000"),
        ({**ROW, "extra": nested(100)}, r"line 1: extra must hold .* at most 64 lists in each other, got \{'x': \{'x'"),
        ("[1]", "line 1 must be a JSON object, got list"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest_file(_write_lines(tmp_path, row))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,uri,split\na,a.mp4\n", "line 2 must have 3 cells as the header has: quote commas"),
        ("video_id,uri,split\na,a.mp4,train,more\n", "line 2 must have 3 cells as the header has: quote commas"),
        (
            "video_id,uri,split\na,a.mp4,train\na,b.mp4,train\n",
            "line 3 must agree with line 2 on 'a' but for its caption",
        ),
        (
            "video_id;uri;split\na;b;train\n",
            "must have a header like .*, got 'video_id;uri;split': separate cells by com",
        ),
        ("video_id,uri,split,extra\na,b,train," + "[" * 5000, r"line 2: extra is not JSON \(.*\): write one object"),
        ("video_id,uri,split\n,a.mp4,train\n,b.mp4,train\n", "line 2: the field 'video_id' is missing"),
        ("video_id,split,captions\na,train,x\n", "must have a column 'caption' with one per row, got 'captions'"),
        ("video_id,uri,split,end_seconds\na,a.mp4,train,x\n", "line 2: end_seconds must be a number, got 'x'"),
    ],
)
def test_a_wrong_csv_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest_file(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, {**ROW, "split": "tests"}], "row 2: split of a must be one of train, val, test; got 'tests'"),
        ([{**ROW, "video_id": 7}], "row 1: video_id must be str, got 7"),
        ([{**ROW, "captions": ["x", None]}], r"row 1: captions must be a list of strings, got \['x', None\]"),
        ([{**ROW, "extra": "{"}], r"row 1: extra is not JSON \(.*\): write one object"),
        ([{**ROW, "extra": {"day": date(2026, 1, 1)}}], "row 1: extra must hold JSON values .*date"),
        ([{**ROW, "caption": "x", "captions": ["x"]}], "must have a column 'caption' or 'captions', got both"),
        (
            [{**ROW, "caption": "x"}, {**ROW, "caption": "y", "split": "val"}],
            "row 2 must agree with row 1 on 'a' but for its caption",
        ),
    ],
)
def test_a_wrong_parquet_row_is_named(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    _write_parquet(tmp_path / "manifest.parquet", rows)
    with pytest.raises(DataError, match=message):
        read_manifest_file(tmp_path)


def test_a_list_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1" * 9)
    with pytest.raises(DataError, match=r"manifest.parquet cannot be read as Parquet \(.*\): write it anew"):
        read_manifest_file(tmp_path)


def test_two_lists_in_one_root_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    _write_lines(tmp_path, ROW)
    (tmp_path / "manifest.csv").write_text("video_id,split\nb,train\n")
    with pytest.raises(DataError, match=r"holds manifest.jsonl and manifest.csv: name one of them \(--option file="):
        read_manifest_file(tmp_path)
    assert [record.video_id for record in read_manifest_file(tmp_path, file="manifest.csv").videos] == ["b"]


def test_a_root_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds none of manifest.jsonl, manifest.csv, manifest.parquet: write one"):
        read_manifest_file(tmp_path)


def test_a_list_of_another_name_is_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(ROW))
    assert [record.video_id for record in read_manifest_file(tmp_path, file="mine.jsonl").videos] == ["a"]
    with pytest.raises(DataError, match=r"there is no manifest .*other.jsonl"):
        read_manifest_file(tmp_path, file="other.jsonl")


def test_a_list_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(DataError, match=r"a manifest must be a .jsonl, .csv or .parquet file, got 'mine.txt'"):
        read_manifest_file(tmp_path, file="mine.txt")


def test_a_list_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not UTF-8 text in its format"):
        read_manifest_file(tmp_path)


@pytest.mark.parametrize("uri", ["../x.mp4", "a/../../x.mp4", "/etc/passwd", "", ".", "a\0b"])
def test_an_address_that_leaves_the_root_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(DataError, match="uri must stay under the dataset root"):
        confined_path(tmp_path / "data", uri)


def test_an_address_on_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"uri must be a path under the dataset root .*, got 's3://bucket/a.mp4'"):
        confined_path(tmp_path, "s3://bucket/a.mp4")


def test_an_address_inside_the_root_is_kept(tmp_path: Path) -> None:
    assert confined_path(tmp_path, "a/./b c.mp4") == tmp_path / "a" / "b c.mp4"
    assert confined_path(tmp_path, str(tmp_path / "a.mp4")) == tmp_path / "a.mp4"

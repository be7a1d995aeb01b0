from __future__ import annotations

import json
from pathlib import Path

import pytest

from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets import confined_path, read_manifest_file

ROW = {"video_id": "a", "uri": "clips/a.mp4", "split": "train"}


def _write_lines(root: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (root / "manifest.jsonl").write_text("\n".join(lines))
    return root


def test_json_lines_hold_every_field_of_a_record(tmp_path: Path) -> None:
    full = {
        **ROW,
        "captions": ["A cat. ", "一只猫"],
        "start_seconds": 1,
        "end_seconds": 2.5,
        "source_id": "yt1",
        "extra": {"kind": [1]},
    }
    records = read_manifest_file(_write_lines(tmp_path, full, "", {**ROW, "video_id": "b"}))
    assert records == [
        VideoRecord(**{**full, "captions": ("A cat. ", "一只猫")}),
        VideoRecord(video_id="b", uri="clips/a.mp4", split="train"),
    ]


def test_csv_rows_of_one_video_become_one(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "video_id,uri,split,caption,start_seconds,end_seconds\n"
        'a,a.mp4,train,"one, two",0.5,\n'
        "b,b.mp4,test,three,,4\n"
        "a,a.mp4,train,four,0.5,\n"
    )
    assert read_manifest_file(tmp_path) == [
        VideoRecord(video_id="a", uri="a.mp4", split="train", captions=("one, two", "four"), start_seconds=0.5),
        VideoRecord(video_id="b", uri="b.mp4", split="test", captions=("three",), end_seconds=4.0),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "splt": "x"}, r"line 1: unknown field 'splt'; allowed are video_id, .*Did you mean 'split'"),
        ({"video_id": "a", "uri": "a.mp4"}, "line 1: the field 'split' is missing"),
        ({**ROW, "split": "training"}, "line 1: split of a must be one of train, val, test; got 'training'"),
        ({**ROW, "captions": "one"}, "line 1: captions must be list, got 'one'"),
        ({**ROW, "captions": [1]}, r"line 1: captions must be a list of strings, got \[1\]"),
        ({**ROW, "start_seconds": True}, "line 1: start_seconds must be int, got True"),
        ({**ROW, "uri": "../a.mp4"}, "uri must stay under the dataset root .*, got '../a.mp4'"),
        ("{", "line 1 is not JSON"),
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
        ("video_id,uri,split,end_seconds\na,a.mp4,train,x\n", "line 2: end_seconds must be a number .*, got 'x'"),
    ],
)
def test_a_wrong_csv_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest_file(tmp_path)


def test_a_root_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither manifest.jsonl nor manifest.csv: write one of them"):
        read_manifest_file(tmp_path)


def test_a_list_of_another_name_is_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(ROW))
    assert [record.video_id for record in read_manifest_file(tmp_path, file="mine.jsonl")] == ["a"]
    with pytest.raises(DataError, match=r"there is no manifest .*other.jsonl"):
        read_manifest_file(tmp_path, file="other.jsonl")


def test_a_list_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(DataError, match=r"a manifest must be a .jsonl or .csv file, got 'mine.txt'"):
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

"""VideoMind through its mapping of fields: generated files, since no published one was at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conical.core.errors import ConfigError, DataError
from conical.datasets import read_dataset
from conical.datasets.readers.videomind import read_videomind

ROW: dict[str, Any] = {
    "video_id": "v1.mp4",
    "split": "test",
    "factual": "a man lifts a box",
    "abstract": "hard work",
    "intent": {"uploader": "to show strength", "character": "to move house"},
    "ocr": "MOVERS",
    "asr": None,
    "subject": ["man"],
    "views": 3,
}


def _write(root: Path, name: str, *rows: dict[str, Any]) -> None:
    (root / name).write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("layer", "captions"),
    [
        ("factual", ("a man lifts a box",)),
        ("abstract", ("hard work",)),
        ("intent", ("to show strength", "to move house")),
        ("all", ("a man lifts a box", "hard work", "to show strength", "to move house")),
    ],
)
def test_a_layer_is_chosen_by_name(tmp_path: Path, layer: str, captions: tuple[str, ...]) -> None:
    _write(tmp_path, "videomind_v1.json", ROW)
    (record,) = read_videomind(tmp_path, layer=layer).videos
    assert record.captions == captions


def test_other_texts_are_kept_as_fields(tmp_path: Path) -> None:
    _write(tmp_path, "VideoMind.json", ROW)
    annotations = read_videomind(tmp_path)
    (record,) = annotations.videos
    assert (record.video_id, record.split, record.uri) == ("v1", "test", "")
    assert record.extra == {key: value for key, value in ROW.items() if key not in ("video_id", "split")}
    assert annotations.notes == (
        "no file of this dataset was at hand when its reader was written: look at what it read",
    )


def test_fields_of_other_names_are_mapped(tmp_path: Path) -> None:
    _write(tmp_path, "test.json", {"id": "v1", "fact": ["one", "two"], "speech": "hello", "more": 1})
    (record,) = read_videomind(tmp_path, fields="video_id=id, factual=fact,asr=speech").videos
    assert (record.video_id, record.split, record.captions) == ("v1", "test", ("one", "two"))
    assert record.extra == {"factual": ["one", "two"], "asr": "hello", "more": 1}


def test_lists_lines_tables_and_objects_by_id_are_read(tmp_path: Path) -> None:
    _write(tmp_path, "train_100k.json", {"video_id": "a", "factual": "1"})
    (tmp_path / "val.jsonl").write_text('{"video_id": "b", "factual": "2"}\n\n{"video_id": "c", "factual": "3"}\n')
    (tmp_path / "test.csv").write_text("video_id,factual,ocr\nd,4,NO ENTRY\n")
    (tmp_path / "test_more.json").write_text(json.dumps({"e": {"factual": "5"}}))
    records = read_videomind(tmp_path).videos
    assert {(record.video_id, record.split, record.captions[0]) for record in records} == {
        ("a", "train", "1"),
        ("b", "val", "2"),
        ("c", "val", "3"),
        ("d", "test", "4"),
        ("e", "test", "5"),
    }


def test_val_is_held_out_from_train_where_there_is_none(tmp_path: Path) -> None:
    rows = [{"video_id": f"t{number}", "factual": "x", "split": "train"} for number in range(20)]
    _write(tmp_path, "videomind.json", *rows, ROW)
    records, summary = read_dataset("videomind", tmp_path, allow_missing=True, validation="5")
    assert sum(record.split == "val" for record in records) == 5
    assert "val: 5 videos held out from train" in summary.notes
    records, _ = read_dataset("videomind", tmp_path, allow_missing=True, validation="0")
    assert not any(record.split == "val" for record in records)
    with pytest.raises(
        DataError, match=r"a validation split of 1,000 videos cannot be cut from train: .* give 20 of the"
    ):
        read_dataset("videomind", tmp_path, allow_missing=True)


def test_rows_of_another_split_than_their_file_are_counted(tmp_path: Path) -> None:
    _write(tmp_path, "test.json", ROW, {**ROW, "video_id": "v2", "split": "train"})
    _write(tmp_path, "videomind.json", {**ROW, "video_id": "v3", "split": "val"})
    annotations = read_videomind(tmp_path)
    assert {record.video_id: record.split for record in annotations.videos}["v2"] == "train"
    assert annotations.notes[1:] == ("1 of 2 rows of test.json name another split than it does: theirs is kept",)


def test_one_file_may_be_named(tmp_path: Path) -> None:
    _write(tmp_path, "test.json", ROW)
    _write(tmp_path, "mine.json", {**ROW, "video_id": "v2"})
    assert [record.video_id for record in read_videomind(tmp_path, file="mine.json").videos] == ["v2"]
    with pytest.raises(DataError, match=r"there is no other.json under .*: name a file that is there, or none"):
        read_videomind(tmp_path, file="other.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("test.json", '[{"video_id": "a"}]', "test.json, entry 0: the field 'factual' is missing, it has video_id"),
        ("test.json", '[{"video_id": "a", "factual": 3}]', "test.json, entry 0: factual must be str, got 3"),
        ("test.json", '[{"video_id": "a", "factual": null}]', "test.json, entry 0: factual must be str, got None"),
        ("test.json", '[{"video_id": 1, "factual": "x"}]', "test.json, entry 0: video_id must be str, got 1"),
        (
            "test.json",
            '[{"video_id": "a", "factual": "x", "split": "holdout"}]',
            "entry 0: split of a must be one of train",
        ),
        ("test.json", "3", "test.json must be list, got 3"),
        ("test.json", '{"a": 3}', "test.json, 'a' must be dict, got 3"),
        ("test.jsonl", "{}\n{", r"test.jsonl, line 1: the field 'factual' is missing, it has none"),
        ("test.jsonl", "{", r"test.jsonl, line 1 is not JSON \("),
        ("test.jsonl", "[]", r"test.jsonl, line 1 must be dict, got \[\]"),
        ("test.csv", "id,factual\na,b\n", "test.csv must have a column 'video_id', it has id, factual"),
    ],
)
def test_a_broken_file_is_named_with_its_entry(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_videomind(tmp_path)


def test_a_folder_without_files_and_wrong_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no videomind\*, train\*, val\* or test\* file of .json, .jsonl, .csv"):
        read_videomind(tmp_path)
    with pytest.raises(
        ConfigError, match=r"option layer of 'videomind' must be one of factual, .*; got 'fact'. Did you"
    ):
        read_videomind(tmp_path, layer="fact")
    for fields in ("fact=x", "factual", "factual="):
        with pytest.raises(
            ConfigError, match=r"option fields of 'videomind' must be like factual=fact,.*got 'fact.*known"
        ):
            read_videomind(tmp_path, fields=fields)

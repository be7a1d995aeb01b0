"""DiDeMo: sentences of one video become one paragraph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conical.core.errors import ConfigError, DataError
from conical.datasets.readers.didemo import read_didemo


def _told(video: str, sentence: str, *times: list[int]) -> dict[str, Any]:
    return {"video": video, "description": sentence, "times": list(times), "num_segments": 6, "annotation_id": 1}


VAL = [_told("2@N0_20_bb.avi", "only one.", [0, 0])]
TEST = [
    _told("1@N0_10_aa.mov", "last.", [5, 5], [4, 5]),
    _told("3@N0_30_cc.", "other video", [0, 0]),
    _told("1@N0_10_aa.mov", "first, long", [0, 3], [0, 3]),
    _told("1@N0_10_aa.mp4", "under another name", [1, 1]),
    _told("1@N0_10_aa.mov", "first", [0, 0], [0, 0]),
    _told("9@N0_90_xx.mov", "on no list", [0, 0]),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lists = tmp_path / "file_lists"
    lists.mkdir()
    (lists / "train_list.txt").write_text("7@N0_70_gg.3gp\n8@N0_80_hh.mp4\n")
    (lists / "val_list.txt").write_text("2@N0_20_bb.avi\n")
    (lists / "test_list.txt").write_text("1@N0_10_aa.mov\n3@N0_30_cc.\n")
    (tmp_path / "val_data.json").write_text(json.dumps(VAL))
    (tmp_path / "test_data.json").write_text(json.dumps(TEST))
    return tmp_path


def test_sentences_of_a_video_become_one_paragraph_in_the_order_of_the_file(root: Path) -> None:
    annotations = read_didemo(root)
    val, first, second = annotations.videos
    assert (val.split, val.captions) == ("val", ("only one.",))
    assert (first.video_id, first.split, first.source_id) == ("1@N0_10_aa", "test", "1@N0_10_aa")
    assert first.captions == ("last. first, long first",)
    assert first.extra == {
        "sentences": ["last.", "first, long", "first"],
        # means over annotators of first chunk * 5 s and (last chunk + 1) * 5 s
        "moments_seconds": [[22.5, 30.0], [0.0, 20.0], [0.0, 5.0]],
    }
    assert (first.uri, first.start_seconds, first.end_seconds) == ("", 0.0, 30.0)
    assert (second.video_id, second.captions) == ("3@N0_30_cc", ("other video",))


def test_the_order_in_time_is_by_mean_start_then_mean_end(root: Path) -> None:
    first = read_didemo(root, order="time").videos[1]
    assert first.captions == ("first first, long last.",)
    assert first.extra["sentences"] == ["first", "first, long", "last."]


def test_sentences_under_another_name_of_a_video_are_taken_when_asked_for(root: Path) -> None:
    notes = "1 sentences of test stand under another name of a listed video and are"
    assert f"{notes} left out" in read_didemo(root).notes
    annotations = read_didemo(root, names="all")
    assert annotations.videos[1].captions == ("last. first, long under another name first",)
    assert f"{notes} taken" in annotations.notes


def test_a_split_without_sentences_is_reported_as_absent(root: Path) -> None:
    annotations = read_didemo(root)
    assert annotations.absent == {"train": ("7@N0_70_gg", "8@N0_80_hh")}
    assert "train_data.json is not there: no sentences of train" in annotations.notes
    (root / "train_data.json").write_text(json.dumps([_told("7@N0_70_gg.3gp", "a"), _told("8@N0_80_hh.mp4", "b")]))
    with pytest.raises(
        DataError, match=r"train_data.json, entry 0: times must be pairs of a first and a last chunk, got \[\]"
    ):
        read_didemo(root)
    told = [_told("7@N0_70_gg.3gp", "a", [0, 0]), _told("8@N0_80_hh.mp4", "b", [0, 0])]
    (root / "train_data.json").write_text(json.dumps(told))
    assert read_didemo(root).absent == {}
    assert [record.split for record in read_didemo(root).videos] == ["train", "train", "val", "test", "test"]


def test_ids_end_at_the_first_dot_and_names_of_the_lists_are_kept_for_the_search(root: Path) -> None:
    annotations = read_didemo(root)
    assert annotations.lists["test"] == ("1@N0_10_aa", "3@N0_30_cc")
    assert annotations.lists["train"] == ("7@N0_70_gg", "8@N0_80_hh")
    assert annotations.other_names["3@N0_30_cc"] == ("3@N0_30_cc.",)
    assert annotations.other_names["2@N0_20_bb"] == ("2@N0_20_bb.avi",)


def test_videos_are_found_under_the_names_that_people_save_them_by(root: Path) -> None:
    from conical.datasets.assembling import assemble

    (root / "videos").mkdir()
    for name in ("1@N0_10_aa.mp4", "2@N0_20_bb.avi.mp4", "3@N0_30_cc."):
        (root / "videos" / name).write_bytes(b"v")
    annotations = read_didemo(root)
    records, summary = assemble(annotations, root, name="didemo", allow_missing=True)
    assert [record.uri for record in records] == [
        "videos/2@N0_20_bb.avi.mp4",
        "videos/1@N0_10_aa.mp4",
        "videos/3@N0_30_cc.",
    ]
    assert (summary.splits["train"].expected, summary.splits["train"].found) == (2, 0)
    with pytest.raises(DataError, match="videos of 'didemo' are missing: train 2 expected, 0 found"):
        assemble(annotations, root, name="didemo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "test_data.json must be list, got {}"),
        (["x"], "test_data.json, entry 0 must be dict, got 'x'"),
        ([{"video": "a"}], "test_data.json, entry 0: the field 'times' is missing, it has video"),
        (
            [_told("1@N0_10_aa.mov", "x", [0])],
            r"entry 0: times must be pairs of a first and a last chunk, got \[\[0\]\]",
        ),
        ([{**_told("a", "x"), "times": ["0"]}], "entry 0: times must be list, got '0'"),
        ([_told("a", "x", [0, "1"])], "entry 0: times must be int, got '1'"),
        ([{**_told("a", "x", [0, 0]), "description": None}], "entry 0: description must be str, got None"),
        ([], "test_data.json has no sentence of the listed video '1@N0_10_aa': take json and lists of one dataset"),
    ],
)
def test_a_broken_file_is_named_with_its_entry(root: Path, content: object, message: str) -> None:
    (root / "test_data.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_didemo(root)


def test_missing_files_are_named(root: Path) -> None:
    for split in ("val", "test"):
        (root / f"{split}_data.json").unlink()
    with pytest.raises(
        DataError, match=r"there is no train_data.json or val_data.json or test_data.json under .*: downl"
    ):
        read_didemo(root)
    (root / "file_lists" / "val_list.txt").unlink()
    with pytest.raises(
        DataError, match=r"there is no val_list.txt under .*: take the file lists of 8,392, 1,065 and 1,0"
    ):
        read_didemo(root)


def test_an_option_that_is_none_names_the_allowed_ones(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"option order of 'didemo' must be one of file, time; got 'tim'. Did you mean"
    ):
        read_didemo(root, order="tim")
    with pytest.raises(ConfigError, match="option names of 'didemo' must be one of listed, all; got 'both'"):
        read_didemo(root, names="both")

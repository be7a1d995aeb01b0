from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_factory import grey_level, named_indices
from conical import datasets
from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets.addresses import confined_path
from conical.datasets.readers.frames_folder import read_frames_folder
from conical.video import FrameRecipe, sample_frames


def _write(root: Path, **files: object) -> Path:
    """`train="a b"` writes a list, `json=...` and `csv="..."` a caption file."""
    for name, content in files.items():
        if name == "json":
            (root / "captions.json").write_text(content if isinstance(content, str) else json.dumps(content))
        elif name == "csv":
            (root / "captions.csv").write_text(str(content))
        else:
            (root / f"{name}.txt").write_text("\n".join(str(content).split(" ")))
    return root


def _videos(root: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(video.video_id, video.split, video.captions) for video in read_frames_folder(root).videos]


@pytest.mark.parametrize(
    "files",
    [
        {"json": {"a": ["one", "two"], "b": "three"}, "train": "a", "test": "b"},
        {
            "json": [
                {"video_id": "a", "caption": "one", "split": "train"},
                {"video_id": "b", "captions": ["three"], "split": "test"},
                {"video_id": "a", "caption": "two"},
            ]
        },
        {
            "json": [{"video_id": "a", "captions": ["one", "two"]}, {"video_id": "b", "caption": "three"}],
            "train": "a",
            "test": "b",
        },
        {"csv": "video_id,caption,split\na,one,train\nb,three,test\na,two,train\n"},
        {"csv": "caption,video_id\none,a\nthree,b\ntwo,a\n", "train": "a", "test": " b "},
        {"csv": "video_id,caption,split\na,one,train\nb,three,\na,two,\n", "test": "b"},
    ],
)
def test_every_form_says_the_same(tmp_path: Path, files: dict[str, object]) -> None:
    assert _videos(_write(tmp_path, **files)) == [("a", "train", ("one", "two")), ("b", "test", ("three",))]


def test_a_video_that_only_a_list_names_has_no_caption(tmp_path: Path) -> None:
    _write(tmp_path, json={"a": "x"}, train="a", val="c b")
    assert _videos(tmp_path) == [("a", "train", ("x",)), ("c", "val", ()), ("b", "val", ())]


def test_captions_are_kept_as_they_are(tmp_path: Path) -> None:
    _write(tmp_path, json={"a": [" Eine Katze\u2028", "", "一只猫", "一只猫"]}, train="a")
    assert _videos(tmp_path)[0][2] == (" Eine Katze\u2028", "", "一只猫", "一只猫")


def test_imported_folders_are_sampled(tmp_path: Path) -> None:
    _write(tmp_path, csv="video_id,caption,split\na,x,train\nb,y,test\n")
    for video_id, folder, num_frames in (("a", "frames/a", 12), ("b", "b", 3)):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(num_frames):
            picture = Image.fromarray(np.full((16, 16, 3), grey_level(index), np.uint8))
            picture.save(tmp_path / folder / f"{video_id}-{index}.jpg")
    records = datasets.load("frames", tmp_path)
    assert records == [
        VideoRecord(video_id="a", uri="frames/a", split="train", captions=("x",)),
        VideoRecord(video_id="b", uri="b", split="test", captions=("y",)),
    ]
    indices = [
        named_indices(sample_frames(confined_path(tmp_path, record.uri), FrameRecipe(size=16, num_frames=4)).frames)
        for record in records
    ]
    assert indices == [[0, 4, 7, 11], [0, 1, 2, 2]]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"must hold one of captions.json, captions.csv, got none"),
        ({"json": {}, "csv": ""}, r"must hold one of .*, got captions.json and captions.csv"),
        ({"json": "{"}, r"captions.json is not JSON \(.*\): save it anew"),
        ({"json": "[" * 5000}, r"captions.json is not JSON \(.*recursion.*\): save it anew"),
        (
            {"json": {"a": ["x", "\ud83d"]}, "train": "a"},
            r"captions.json, 'a': captions must hold whole characters, .*, got '.ud83d': mend it",
        ),
        (
            {"json": [{"video_id": "\ud83d", "caption": "x", "split": "val"}]},
            r"captions.json: video_id must hold whole characters, .*, got '.ud83d': mend it",
        ),
        ({"csv": "video_id;caption\n"}, r"captions.csv must have a header like .*;caption': separate cells by"),
        ({"json": "3"}, r"captions.json must be an object or a list, got int"),
        ({"json": ["a"]}, r"captions.json, entry 1 must be an object, got 'a'"),
        ({"json": [{"video_id": "a"}]}, r"entry 1 must have video_id and caption \(or captions\), it has video_id"),
        ({"json": [{"video_id": 1, "caption": "x"}]}, r"entry 1: video_id must be str, got 1"),
        ({"json": [{"video_id": "a", "caption": "x", "split": None}]}, r"entry 1: split must be str, got None"),
        ({"json": {"a": [1]}}, r"captions.json, 'a': captions must be a text or a list of texts, got \[1\]"),
        ({"json": {"a": "x"}}, r"captions.json: 'a' has no split: name it in train.txt, val.txt or test.txt"),
        ({"json": {"a": "x"}, "train": "a b a"}, r"train.txt, line 3 repeats 'a' of line 1: remove one"),
        ({"json": {"a": "x"}, "train": "a", "test": "a"}, r"video 'a' is in the lists of train and test: mend"),
        ({"json": {"a/b": "x"}, "train": "a/b"}, r"captions.json: video_id must be a plain name .*, got 'a/b'"),
        ({"csv": "video_id,caption\n"}, r"dataset 'frames' is empty"),
        ({"csv": ""}, r"captions.csv must have a column 'video_id', it has none: write a header"),
        ({"csv": "video_id,text\na,x\n"}, r"captions.csv must have a column 'caption', it has video_id, text"),
        ({"csv": "video_id,caption\na,x,y\n"}, r"captions.csv, line 2 must have 2 cells as the header has: quote"),
        ({"csv": "z" * 200_000}, r"captions.csv must have a column 'video_id', it has z{40}…: write a header"),
        (
            {"csv": "video_id,caption,split\na,x,holdout\n"},
            r"split of a must be one of train, val, test; got 'holdout'",
        ),
        (
            {"csv": "video_id,caption,split\na,x,train\na,y,test\n"},
            r"captions.csv, line 3: 'a' must have one split, got train elsewhere and test here",
        ),
        ({"csv": "video_id,caption,split\na,x,val\n", "test": "a"}, r"line 2: 'a' must have one split, got test else"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, files: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        datasets.load("frames", _write(tmp_path, **files))


def test_a_list_that_is_not_text_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, json={"a": "x"})
    (tmp_path / "train.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"train.txt is not UTF-8 text \(.*\): save it anew"):
        read_frames_folder(tmp_path)

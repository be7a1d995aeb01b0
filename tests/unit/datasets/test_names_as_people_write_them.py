"""Splits, files and ids as people have them: other words, other Unicode, side files of downloaders, long names."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from conical.core.atomic import write_text_atomic
from conical.datasets import read_manifest_file
from conical.datasets.finder import find_videos
from conical.datasets.split_names import split_named


@pytest.mark.parametrize(
    ("word", "split"),
    [
        *((word, "val") for word in ("val", "valid", "validate", "validation", "dev", "Val", " VALIDATION ")),
        *((word, "train") for word in ("train", "training", "Train")),
        *((word, "test") for word in ("test", "testing", "TEST")),
        *((word, "") for word in ("", "holdout", "tests", "trainval")),
    ],
)
def test_a_split_is_known_by_its_usual_names(word: str, split: str) -> None:
    assert split_named(word) == split


def test_a_manifest_may_say_validate(tmp_path: Path) -> None:
    rows = [{"video_id": "a", "split": "validate", "captions": ["x"]}, {"video_id": "b", "split": "Training"}]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert [record.split for record in read_manifest_file(tmp_path).videos] == ["val", "train"]


@pytest.mark.parametrize("form_of_file", ["NFC", "NFD"])
@pytest.mark.parametrize("form_of_id", ["NFC", "NFD"])
def test_composed_and_decomposed_names_are_one_name(tmp_path: Path, form_of_file: str, form_of_id: str) -> None:
    plain = "Caf\u00e9 à Zürich ガ"
    (tmp_path / f"{unicodedata.normalize(form_of_file, plain)}.mp4").write_bytes(b"x")
    video_id = unicodedata.normalize(form_of_id, plain)
    found = find_videos(tmp_path, {video_id: (video_id,)})
    assert (tmp_path / found.uris[video_id]).is_file()
    assert not found.ambiguous


@pytest.mark.parametrize(
    "side",
    [
        *(".description", ".url", ".webloc", ".srv3", ".info.json", ".mp4.part", ".part", ".ytdl", ".jpg", ".webp"),
        *(".en.vtt", ".srt", ".NFO", ".JPG", ".temp.mp4.part", ".live_chat.json", ".m4a", ".annotations.xml"),
    ],
)
def test_what_a_downloader_leaves_beside_a_video_is_no_second_video(tmp_path: Path, side: str) -> None:
    (tmp_path / "abc.mp4").write_bytes(b"video")
    (tmp_path / f"abc{side}").write_bytes(b"other")
    found = find_videos(tmp_path, {"abc": ("abc",)})
    assert (dict(found.uris), dict(found.ambiguous)) == ({"abc": "abc.mp4"}, {})


@pytest.mark.parametrize("name", ["abc.MP4", "abc.WebM", "abc.AVI", "abc.MOV"])
def test_suffixes_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"video")
    assert find_videos(tmp_path, {"abc": ("abc",)}).uris == {"abc": name}


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    longest = "x" * (255 - len(".png"))
    write_text_atomic(tmp_path / f"{longest}.png", "whole")
    assert (tmp_path / f"{longest}.png").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 1

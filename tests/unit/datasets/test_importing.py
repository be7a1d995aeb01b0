"""What every dataset goes through after its annotations were read."""

from __future__ import annotations

from pathlib import Path

import pytest

from conical.core.errors import DataError
from conical.core.records import SplitCount, VideoRecord
from conical.datasets.annotations import Annotations, PublishedList, hash_ids
from conical.datasets.assembling import assemble, check_lists, missing_sentence
from conical.datasets.checks.leaks import shared_sources
from conical.datasets.finder import find_videos


def _video(video_id: str, split: str = "test", uri: str = "", captions: tuple[str, ...] = ("x",)) -> VideoRecord:
    return VideoRecord(video_id=video_id, uri=uri, split=split, captions=captions)


def _file(path: Path, content: bytes = b"v") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_videos_are_found_by_id_whatever_the_folder_and_extension(tmp_path: Path) -> None:
    for path in ("video1.mp4", "deep/er/video2.avi", "deep/video3.WEBM", "video4"):
        _file(tmp_path / path)
    for path in ("video1.json", "video1.npy", "video1.wav", "video10.mp4", ".video2.mp4", ".cache/video3.mp4"):
        _file(tmp_path / path)
    found = find_videos(tmp_path, {f"video{k}": (f"video{k}",) for k in range(1, 6)})
    assert found.uris == {
        "video1": "video1.mp4",
        "video2": "deep/er/video2.avi",
        "video3": "deep/video3.WEBM",
        "video4": "video4",
    }
    assert not found.ambiguous


def test_a_folder_of_images_is_a_video_and_the_images_are_none(tmp_path: Path) -> None:
    _file(tmp_path / "frames/clip7/0.jpg")
    _file(tmp_path / "frames/clip7/1.jpg")
    _file(tmp_path / "clip8.jpg")
    assert find_videos(tmp_path, {"clip7": ("clip7",), "clip8": ("clip8",)}).uris == {"clip7": "frames/clip7"}


def test_another_name_of_a_video_finds_it_and_an_id_may_hold_dots(tmp_path: Path) -> None:
    _file(tmp_path / "vid12.avi")
    _file(tmp_path / "a.b_c.mov.mp4")
    found = find_videos(tmp_path, {"4wsu_5_15": ("4wsu_5_15", "vid12"), "a.b_c": ("a.b_c", "a.b_c.mov")})
    assert found.uris == {"4wsu_5_15": "vid12.avi", "a.b_c": "a.b_c.mov.mp4"}


def test_equal_copies_count_as_one_and_different_files_are_ambiguous(tmp_path: Path) -> None:
    _file(tmp_path / "a/same.mp4")
    _file(tmp_path / "b/same.mp4")
    _file(tmp_path / "a/other.mp4", b"1")
    _file(tmp_path / "b/other.avi", b"2")
    found = find_videos(tmp_path, {"same": ("same",), "other": ("other",)})
    assert found.uris["same"] == "a/same.mp4"
    assert found.ambiguous == {"other": ("a/other.mp4", "b/other.avi")}


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    _file(tmp_path / "elsewhere/a.mp4")
    root = tmp_path / "root"
    root.mkdir()
    (root / "videos").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root)
    assert find_videos(root, {"a": ("a",)}).uris == {"a": "videos/a.mp4"}


def test_different_files_for_one_video_are_refused_unless_a_folder_is_named(tmp_path: Path) -> None:
    _file(tmp_path / "small/a.mp4", b"1")
    _file(tmp_path / "large/a.mp4", b"22")
    annotations = Annotations(videos=(_video("a"),))
    with pytest.raises(DataError, match=r"1 videos of 'mine' have several files that differ \(a: large/a.mp4, small/"):
        assemble(annotations, tmp_path, name="mine")
    records, _ = assemble(annotations, tmp_path, name="mine", videos="small")
    assert records[0].uri == "small/a.mp4"
    with pytest.raises(
        ValueError, match=r"option videos must name a folder under .*got 'smal'; there are large, small"
    ):
        assemble(annotations, tmp_path, name="mine", videos="smal")


def test_missing_videos_are_named_and_refused_unless_allowed(tmp_path: Path) -> None:
    ids = [f"v{k:02d}" for k in range(14)]
    for video_id in ids[:3]:
        _file(tmp_path / f"{video_id}.mp4")
    annotations = Annotations(videos=tuple(_video(video_id) for video_id in ids), absent={"train": tuple("abcde")})
    with pytest.raises(
        DataError,
        match=r"videos of 'mine' are missing: train 5 expected, 0 found; test 14 expected, 3 found \(first ten a, b, .*"
        r"v07 …\): get them, or allow it \(--allow-missing",
    ):
        assemble(annotations, tmp_path, name="mine")
    records, summary = assemble(annotations, tmp_path, name="mine", allow_missing=True)
    assert summary.splits == {"train": SplitCount(expected=5, found=0), "test": SplitCount(expected=14, found=3)}
    assert summary.is_partial
    assert summary.missing == (*"abcde", *ids[3:])
    assert [record.uri for record in records][:4] == ["v00.mp4", "v01.mp4", "v02.mp4", ""]


def test_a_complete_dataset_has_nothing_to_say_about_what_is_missing(tmp_path: Path) -> None:
    _file(tmp_path / "a.mp4")
    _, summary = assemble(Annotations(videos=(_video("a", uri="a.mp4"),)), tmp_path, name="mine")
    assert not summary.is_partial
    assert missing_sentence(summary) == ""


def test_a_listed_address_without_a_file_is_missing(tmp_path: Path) -> None:
    _file(tmp_path / "shard.tar")
    annotations = Annotations(videos=(_video("a", uri="gone.mp4"), _video("b", uri="shard.tar/b.mp4")))
    records, summary = assemble(annotations, tmp_path, name="mine", allow_missing=True)
    assert [record.uri for record in records] == ["", "shard.tar/b.mp4"]
    assert summary.missing == ("a",)
    assert summary.notes == ("listed but not there: a at gone.mp4",)
    with pytest.raises(DataError, match=r"found \(a\); listed but not there: a at gone.mp4: get them, or allow it"):
        assemble(annotations, tmp_path, name="mine")


def test_one_file_has_one_address_however_a_list_spells_it(tmp_path: Path) -> None:
    _file(tmp_path / "m.mp4")
    spelled = ("m.mp4", "./m.mp4", "x/../m.mp4", str(tmp_path / "m.mp4"))
    videos = tuple(_video(f"v{k}", split="train" if k else "test", uri=uri) for k, uri in enumerate(spelled))
    records, _ = assemble(Annotations(videos=videos), tmp_path, name="mine")
    assert {record.uri for record in records} == {"m.mp4"}
    assert [one.value for one in shared_sources(records)] == [3.0]


def test_blank_captions_are_left_out_and_duplicates_kept_and_both_are_counted(tmp_path: Path) -> None:
    captions = ("eine Katze läuft", " ", "", "eine Katze läuft", "猫")
    _file(tmp_path / "a.mp4")
    records, summary = assemble(Annotations(videos=(_video("a", captions=captions),)), tmp_path, name="mine")
    assert records[0].captions == ("eine Katze läuft", "eine Katze läuft", "猫")
    assert (summary.num_captions, summary.num_blank_captions, summary.num_duplicate_captions) == (3, 2, 1)


def _lists(*ids: str) -> Annotations:
    return Annotations(videos=(_video("a"),), variant="small", lists={"test": ids})


def test_published_lists_are_compared_by_count_and_by_hash() -> None:
    published = {"small": {"test": PublishedList(count=2, ids_hash=hash_ids(["a", "b"]))}}
    check_lists(_lists("b", "a"), published, name="mine")
    with pytest.raises(DataError, match="list 'test' of 'mine' must have 2 videos, got 3: take the published"):
        check_lists(_lists("a", "b", "c"), published, name="mine")
    with pytest.raises(DataError, match=r"must have 2 videos, got 2 \(1 repeated\)"):
        check_lists(_lists("a", "a"), published, name="mine")
    with pytest.raises(DataError, match=r"list 'test' of 'mine' must hold the published ids \(hash .*\), got "):
        check_lists(_lists("a", "c"), published, name="mine")


def test_a_reader_that_names_no_list_has_its_splits_for_lists() -> None:
    annotations = Annotations(videos=(_video("a"), _video("b", split="train")))
    check_lists(annotations, {"": {"test": PublishedList(count=1), "train": PublishedList(count=1)}}, name="mine")
    with pytest.raises(DataError, match="list 'val' of 'mine' must have 1 videos, got 0"):
        check_lists(annotations, {"": {"val": PublishedList(count=1)}}, name="mine")

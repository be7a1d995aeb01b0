"""MSVD in its three forms of captions."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from conical.core.errors import ConfigError, DataError
from conical.datasets.readers.msvd import read_msvd

CAPTIONS = {
    "-4wsuPCjDBc_5_15": ["a squirrel is eating", "a chipmunk eats  a nut"],
    "bQJQGoJF7_k_162_169": ["a man sings"],
    "a_b_c-_____1_0_12": ["a dog runs", "a dog runs"],
    "not_listed_1_2": ["x"],
}
LISTS = {"train": "-4wsuPCjDBc_5_15", "val": "bQJQGoJF7_k_162_169", "test": "a_b_c-_____1_0_12"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, video_id in LISTS.items():
        (tmp_path / f"{split}_list.txt").write_text(video_id + "\n")
    return tmp_path


def _write_json(root: Path) -> None:
    (root / "captions_msvd.json").write_text(json.dumps(CAPTIONS))


def _write_pickle(root: Path, protocol: int = 2) -> None:
    words = {video_id: [caption.split(" ") for caption in texts] for video_id, texts in CAPTIONS.items()}
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(words, protocol=protocol))


def _write_text(root: Path) -> None:
    lines = [f"{video_id} {caption}" for video_id, texts in CAPTIONS.items() for caption in texts]
    # sentences of one video need not stand together
    (root / "AllVideoDescriptions.txt").write_text("\n".join(["# cleaned", "", *lines[1:], lines[0]]))


def test_a_record_says_source_place_and_captions_and_leaves_the_file_whole(root: Path) -> None:
    _write_json(root)
    annotations = read_msvd(root)
    train, val, test = annotations.videos
    assert (train.video_id, train.split, train.source_id) == ("-4wsuPCjDBc_5_15", "train", "-4wsuPCjDBc")
    assert train.captions == ("a squirrel is eating", "a chipmunk eats  a nut")
    assert train.extra == {"source_start_seconds": 5.0, "source_end_seconds": 15.0}
    assert (train.uri, train.start_seconds, train.end_seconds) == ("", 0.0, None)
    assert (val.split, val.source_id) == ("val", "bQJQGoJF7_k")
    assert (test.split, test.source_id, test.extra["source_end_seconds"]) == ("test", "a_b_c-_____1", 12.0)
    assert annotations.lists == {split: (video_id,) for split, video_id in LISTS.items()}
    assert annotations.other_names == {}
    assert annotations.notes == ()


def test_json_pickle_and_text_give_the_same_captions(root: Path) -> None:
    _write_json(root)
    expected = {record.video_id: sorted(record.captions) for record in read_msvd(root).videos}
    (root / "captions_msvd.json").unlink()
    for write in (_write_pickle, _write_text):
        write(root)
        assert {record.video_id: sorted(record.captions) for record in read_msvd(root).videos} == expected
        for path in root.glob("[rA]*"):
            path.unlink()


def test_a_pickle_may_hold_sentences_too(root: Path) -> None:
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(CAPTIONS))
    assert read_msvd(root).videos[1].captions == ("a man sings",)


def test_a_caption_file_is_chosen_and_others_are_said(root: Path) -> None:
    _write_json(root)
    _write_text(root)
    assert read_msvd(root).notes == ("captions come from captions_msvd.json; not read: AllVideoDescriptions.txt",)
    chosen = read_msvd(root, captions="AllVideoDescriptions.txt")
    assert chosen.notes == ("captions come from AllVideoDescriptions.txt; not read: captions_msvd.json",)
    assert chosen.videos[0].captions == ("a chipmunk eats  a nut", "a squirrel is eating")
    with pytest.raises(ConfigError, match=r"option captions of 'msvd' must be one of captions_msvd.json, .*; got 'x'"):
        read_msvd(root, captions="x")
    with pytest.raises(DataError, match=r"there is no raw-captions.pkl under .*: download MSVD's captions"):
        read_msvd(root, captions="raw-captions.pkl")


def test_the_mapping_gives_files_their_other_names(root: Path) -> None:
    _write_json(root)
    (root / "youtube_mapping.txt").write_text("-4wsuPCjDBc_5_15 vid1\nbQJQGoJF7_k_162_169 vid2\n")
    assert read_msvd(root).other_names == {"-4wsuPCjDBc_5_15": ("vid1",), "bQJQGoJF7_k_162_169": ("vid2",)}
    (root / "youtube_mapping.txt").write_text("-4wsuPCjDBc_5_15\n")
    with pytest.raises(
        DataError, match=r"youtube_mapping.txt, line 1 must be a video id and a name, got '-4wsu.*: mend"
    ):
        read_msvd(root)


def test_a_mapping_of_other_ids_is_said_and_one_the_wrong_way_round_is_refused(root: Path) -> None:
    _write_json(root)
    (root / "youtube_mapping.txt").write_text("-4wsuPCjDBc_5_15 vid1\nnot_listed_1_2 vid2\n")
    annotations = read_msvd(root)
    assert annotations.other_names["-4wsuPCjDBc_5_15"] == ("vid1",)
    assert annotations.notes == ("1 of 2 ids of youtube_mapping.txt are in no list (the first: 'not_listed_1_2')",)
    (root / "youtube_mapping.txt").write_text("vid1 -4wsuPCjDBc_5_15\nvid2 bQJQGoJF7_k_162_169\n")
    with pytest.raises(
        DataError, match=r"mapping.txt must have a video id and .*none of its 2 ids is in a list .*'vid1'.*: swap the"
    ):
        read_msvd(root)


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


def test_a_pickle_with_a_command_is_refused_by_name(root: Path) -> None:
    (root / "raw-captions.pkl").write_bytes(pickle.dumps({"a": _Command()}))
    with pytest.raises(
        DataError, match=rf"raw-captions.pkl asks for {os.system.__module__}.system, but only str, list"
    ):
        read_msvd(root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions_msvd.json", "[]", r"captions_msvd.json must be dict, got \[\]"),
        ("captions_msvd.json", '{"a": "x"}', "captions_msvd.json, captions of 'a' must be list, got 'x'"),
        ("captions_msvd.json", '{"a": [3]}', "captions_msvd.json, caption 0 of 'a' must be str, got 3"),
        ("captions_msvd.json", '{"a": [["x", 3]]}', "caption 0 of 'a', a word must be str, got 3"),
        (
            "captions_msvd.json",
            "{}",
            r"captions_msvd.json has no captions of 3 listed videos \(the first: '-4wsuPCjDBc_5",
        ),
        ("raw-captions.pkl", "(lp0\n.", r"raw-captions.pkl must be dict, got \[\]"),
        ("AllVideoDescriptions.txt", "#\nvid1 a cat\n", "line 2 must be a video id and a sentence, got 'vid1 a cat'"),
    ],
)
def test_a_broken_caption_file_is_named(root: Path, name: str, content: str, message: str) -> None:
    (root / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_msvd(root)


def test_a_missing_or_wrong_list_is_named(root: Path) -> None:
    _write_json(root)
    (root / "val_list.txt").write_text("vid1\n")
    (root / "captions_msvd.json").write_text(json.dumps({**CAPTIONS, "vid1": ["x"]}))
    with pytest.raises(
        DataError, match=r"video ids of MSVD must be a YouTube id, start and end, joined by _; got 'vid1'"
    ):
        read_msvd(root)
    (root / "val_list.txt").unlink()
    with pytest.raises(DataError, match=r"there is no val_list.txt under .*: take the lists of 1,200, 100 and 670 vid"):
        read_msvd(root)

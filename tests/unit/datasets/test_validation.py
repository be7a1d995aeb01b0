"""The validation split that we cut: exact, fixed, and of other sources than the rest."""

from __future__ import annotations

import dataclasses
import hashlib
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets.validation import hold_out


def _video(number: int, source: str, split: str = "train", *, uri: str = "") -> VideoRecord:
    return VideoRecord(video_id=f"video{number}", uri=uri, split=split, source_id=source, captions=("x",))


def _of_split(records: list[VideoRecord], split: str) -> set[str]:
    return {record.video_id for record in records if record.split == split}


def test_the_split_of_a_small_dataset_never_changes() -> None:
    records = hold_out([_video(number, f"s{number}") for number in range(10)], count=3, salt="salt")
    assert _of_split(records, "val") == {"video1", "video2", "video4"}


def test_sources_are_ordered_by_their_hash() -> None:
    order = sorted(range(10), key=lambda number: hashlib.sha256(f"salt\nsource:s{number}".encode()).hexdigest())
    records = hold_out([_video(number, f"s{number}") for number in range(10)], count=3, salt="salt")
    assert _of_split(records, "val") == {f"video{number}" for number in order[:3]}


@given(
    sources=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    splits=st.lists(st.sampled_from(["train", "train", "train", "test"]), min_size=40, max_size=40),
    count=st.integers(1, 20),
    seed=st.integers(0, 100),
)
def test_whole_sources_are_taken_whatever_the_order(
    sources: list[int], splits: list[str], count: int, seed: int
) -> None:
    records = [_video(number, f"s{source}", splits[number]) for number, source in enumerate(sources)]
    try:
        held = hold_out(records, count=count, salt="a")
    except DataError:
        assume(False)
    val = {record.source_id for record in held if record.split == "val"}
    assert len(_of_split(held, "val")) == count
    assert val.isdisjoint(record.source_id for record in held if record.split != "val")
    assert [(record.video_id, record.captions) for record in held] == [(r.video_id, r.captions) for r in records]
    assert _of_split(held, "test") == _of_split(records, "test")
    shuffled = records[:]
    random.Random(seed).shuffle(shuffled)
    assert _of_split(hold_out(shuffled, count=count, salt="a"), "val") == _of_split(held, "val")


def test_a_source_that_is_too_large_is_passed_over() -> None:
    records = [_video(number, "large") for number in range(10)] + [_video(10, "a"), _video(11, "b")]
    assert _of_split(hold_out(records, count=2, salt="x"), "val") == {"video10", "video11"}
    with pytest.raises(
        DataError,
        match=r"a validation split of 9 videos cannot be cut from train: whole sources give 2 of the 12 videos whose "
        r"source no other split uses; ask for fewer \(--option validation=2, 0 for none\)",
    ):
        hold_out(records, count=9, salt="x")


def test_a_source_that_test_uses_stays_in_train() -> None:
    records = [_video(0, "both"), _video(1, "both", "test"), _video(2, "own")]
    assert _of_split(hold_out(records, count=1, salt="x"), "val") == {"video2"}


def test_videos_without_a_source_are_their_own() -> None:
    records = [_video(number, "") for number in range(5)] + [_video(5, "video0")]
    assert len(_of_split(hold_out(records, count=4, salt="x"), "val")) == 4


def _outcomes(records: list[VideoRecord], *, count: int) -> set[frozenset[str]]:
    """The val splits that some salts give; a salt whose order gives none is left out."""
    found = set()
    for salt in range(40):
        try:
            found.add(frozenset(_of_split(hold_out(records, count=count, salt=str(salt)), "val")))
        except DataError:
            continue
    return found


def test_clips_of_one_file_without_a_source_stay_together() -> None:
    records = [_video(number, "", uri=f"film{number // 2}.mp4") for number in range(8)]
    pairs = {frozenset({f"video{number}", f"video{number + 1}"}) for number in range(0, 8, 2)}
    assert _outcomes(records, count=2) == pairs
    with pytest.raises(DataError, match="whole sources give 2 of the 8 videos"):
        hold_out(records, count=3, salt="x")


def test_sources_that_meet_in_a_file_are_one() -> None:
    # s0 and s1 share a file, s1 and a clip without source share another: 0, 1, 2 and 3 belong together
    records = [
        _video(0, "s0", uri="a.mp4"),
        _video(1, "s1", uri="a.mp4"),
        _video(2, "s1", uri="b.mp4"),
        _video(3, "", uri="b.mp4"),
        _video(4, "s2", uri="c.mp4"),
        _video(5, "", uri="d.mp4"),
    ]
    assert _outcomes(records, count=1) == {frozenset({"video4"}), frozenset({"video5"})}
    assert _outcomes(records, count=4) == {frozenset({"video0", "video1", "video2", "video3"})}
    backwards = records[::-1]
    assert _of_split(hold_out(backwards, count=1, salt="x"), "val") == _of_split(
        hold_out(records, count=1, salt="x"), "val"
    )


def test_a_file_that_test_uses_stays_in_train() -> None:
    records = [_video(0, "", uri="a.mp4"), _video(1, "", "test", uri="a.mp4"), _video(2, "", uri="b.mp4")]
    assert _outcomes(records, count=1) == {frozenset({"video2"})}


def test_a_file_of_its_own_changes_nothing() -> None:
    without = [_video(number, f"s{number // 2}" if number < 10 else "") for number in range(20)]
    with_files = [dataclasses.replace(record, uri=f"{record.video_id}.mp4") for record in without]
    held = [_of_split(hold_out(records, count=6, salt="x"), "val") for records in (without, with_files)]
    assert held[0] == held[1]


def test_another_salt_gives_another_split() -> None:
    records = [_video(number, f"s{number}") for number in range(100)]
    one, other = (_of_split(hold_out(records, count=50, salt=salt), "val") for salt in ("a", "b"))
    assert one != other


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be >= 1, got 0"):
        hold_out([_video(0, "a")], count=0, salt="x")

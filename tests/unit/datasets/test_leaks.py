"""Videos of one source, and of the same seconds of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.core.errors import DataError
from conical.core.records import SPLITS, VideoRecord
from conical.datasets.checks.leaks import SOURCE_END, SOURCE_START, overlaps, shared_sources


def clip(video_id: str, split: str, source: str = "", *, at: tuple[float, float] | None = None, **fields):
    extra = {} if at is None else {SOURCE_START: at[0], SOURCE_END: at[1]}
    return VideoRecord(
        **{"video_id": video_id, "uri": "", "split": split, "source_id": source, "extra": extra} | fields
    )


def test_a_source_of_two_splits_is_found_once_for_each_held_out_video() -> None:
    records = [
        clip("t1", "train", "s"),
        clip("t2", "train", "s"),
        clip("e1", "test", "s"),
        clip("v1", "val", "s"),
        clip("e2", "test", "other"),
        clip("t3", "train"),  # of unknown source, as the next
        clip("e3", "test"),
    ]
    found = {(one.video_a, one.split_b): one for one in shared_sources(records)}
    assert found.keys() == {("e1", "val"), ("e1", "train"), ("v1", "train")}
    assert (found["e1", "train"].video_b, found["e1", "train"].value) == ("t1", 2.0)
    assert found["e1", "train"].detail == "cut from s, as t1, t2 of train"


def test_a_file_is_a_source_where_none_is_named() -> None:
    records = [clip("a", "train", uri="long.mp4"), clip("b", "test", uri="long.mp4"), clip("c", "test", uri="c.mp4")]
    assert [one.video_a for one in shared_sources(records)] == ["b"]
    # a copy under another name
    assert [one.video_a for one in shared_sources(records, files={"a": "x", "b": "y", "c": "x"})] == ["c"]


@pytest.mark.parametrize(("source_a", "source_b"), [("", "S1"), ("S1", ""), ("S1", "S2")])
def test_a_file_is_shared_whatever_its_videos_call_their_source(source_a: str, source_b: str) -> None:
    records = [
        clip("a", "train", source_a, uri="m.mp4", start_seconds=0.0, end_seconds=5.0),
        clip("b", "test", source_b, uri="m.mp4", start_seconds=5.0, end_seconds=9.0),
    ]
    (found,) = shared_sources(records)
    assert (found.video_a, found.video_b, found.detail) == ("b", "a", "cut from m.mp4, as a of train")


def test_a_pair_of_one_source_and_one_file_is_found_once() -> None:
    records = [
        clip("a", "train", "S", uri="m.mp4"),
        clip("b", "test", "S", uri="m.mp4"),
        clip("c", "train", "", uri="m.mp4"),
        clip("d", "train", "S", uri="n.mp4"),
    ]
    (found,) = shared_sources(records)
    assert (found.video_b, found.value) == ("a", 3.0)
    assert found.detail == "cut from S and m.mp4, as a, c, d of train"
    assert len(overlaps(records)) == 2


def test_times_of_one_source_that_intersect() -> None:
    records = [
        clip("t", "train", "s", at=(10, 20)),
        clip("touches", "test", "s", at=(20, 30)),
        clip("overlaps", "test", "s", at=(17.5, 30)),
        clip("inside", "val", "s", at=(12, 13)),
        clip("elsewhere", "test", "z", at=(10, 20)),
        clip("unknown", "test", "s"),
    ]
    found = {(one.video_a, one.video_b): one for one in overlaps(records)}
    assert found.keys() == {("overlaps", "t"), ("inside", "t")}
    assert found["overlaps", "t"].value == 2.5
    assert found["overlaps", "t"].detail == "2.5 s of s from 17.5 s on"


def test_times_in_one_file_that_intersect() -> None:
    records = [
        clip("whole", "train", uri="a.mp4"),
        clip("part", "test", uri="a.mp4", start_seconds=5.0, end_seconds=7.0),
        clip("copy", "val", uri="b.mp4"),
        clip("first", "train", uri="c.mp4", end_seconds=5.0),
        clip("second", "test", uri="c.mp4", start_seconds=5.0),
    ]
    assert [(one.video_a, one.video_b, one.value) for one in overlaps(records)] == [("part", "whole", 2.0)]
    found = overlaps(records, files={"whole": "x", "copy": "x"})
    assert [(one.video_a, one.video_b, one.detail) for one in found] == [("copy", "whole", "all of x from 0.0 s on")]


@pytest.mark.parametrize(
    "extra", [{SOURCE_START: 3.0}, {SOURCE_START: 3.0, SOURCE_END: 3.0}, {SOURCE_START: "a", SOURCE_END: 4}]
)
def test_a_place_that_is_none_is_refused(extra) -> None:
    record = clip("a", "train", "s", extra=extra)
    with pytest.raises(
        DataError, match=r"a must have numbers source_start_seconds < source_end_seconds in its extra, got"
    ):
        overlaps([record])


SPANS = st.tuples(st.sampled_from(SPLITS), st.sampled_from("xy"), st.integers(0, 12), st.integers(1, 6))


@given(st.lists(SPANS, max_size=14))
def test_overlaps_are_those_of_a_loop_over_all_pairs(spans) -> None:
    records = [
        clip(f"{number}", split, source, at=(start, start + length))
        for number, (split, source, start, length) in enumerate(spans)
    ]
    expected = set()
    for a, (split_a, source_a, start_a, length_a) in enumerate(spans):
        for b, (split_b, source_b, start_b, length_b) in enumerate(spans):
            common = min(start_a + length_a, start_b + length_b) - max(start_a, start_b)
            if source_a == source_b and SPLITS.index(split_a) > SPLITS.index(split_b) and common > 0:
                expected.add((f"{a}", f"{b}", float(common)))
    assert {(one.video_a, one.video_b, one.value) for one in overlaps(records)} == expected

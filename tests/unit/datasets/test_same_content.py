"""One clip in two splits is found by its file, its bytes or its place in a source; neighbours are not."""

from __future__ import annotations

from typing import Any

import pytest

from conical.core.records import VideoRecord
from conical.datasets.checks.same_content import same_content


def record(video_id: str, split: str, **fields: Any) -> VideoRecord:
    return VideoRecord(**{"video_id": video_id, "split": split, "uri": f"{video_id}.mp4", **fields})


def place(start: float, end: float) -> dict[str, float]:
    return {"source_start_seconds": start, "source_end_seconds": end}


@pytest.mark.parametrize(
    ("a", "b", "shared"),
    [
        ({"uri": "x.mp4"}, {"uri": "x.mp4"}, "file x.mp4"),
        (
            {"uri": "x.mp4", "start_seconds": 1.0, "end_seconds": 2.0},
            {"uri": "x.mp4", "start_seconds": 1.0, "end_seconds": 2.0},
            "file x.mp4",
        ),
        ({"source_id": "s", "extra": place(1, 5)}, {"source_id": "s", "extra": place(1.0, 5.0)}, "source s"),
        ({"uri": "x.mp4", "start_seconds": 1.0}, {"uri": "x.mp4", "start_seconds": 2.0}, None),
        ({"uri": "x.mp4", "end_seconds": 2.0}, {"uri": "x.mp4"}, None),
        ({"source_id": "s", "extra": place(1, 5)}, {"source_id": "s", "extra": place(2, 5)}, None),
        ({"source_id": "s"}, {"source_id": "s"}, None),
        ({}, {}, None),
    ],
)
@pytest.mark.parametrize("splits", [("test", "val"), ("val", "train"), ("test", "train")])
def test_the_same_clip_in_two_splits(
    a: dict[str, Any], b: dict[str, Any], shared: str | None, splits: tuple[str, str]
) -> None:
    found = same_content([record("b", splits[1], **b), record("a", splits[0], **a)])
    if shared is None:
        assert found == ()
    else:
        (entry,) = found
        assert (entry.split_a, entry.split_b, entry.pairs) == (*splits, (("a", "b", shared),))
        assert entry.sentence == f"1 video of {splits[0]} is in {splits[1]} too: a is b ({shared})"


def test_copies_under_other_names_are_found_by_their_bytes() -> None:
    records = [record(f"t{n}", "test") for n in range(5)] + [record(f"v{n}", "val") for n in range(5)]
    files = {f"{split}{n}": f"hash{n}" for split in "tv" for n in range(4)}
    (entry,) = same_content(records, files=files)
    assert [pair[:2] for pair in entry.pairs] == [(f"t{n}", f"v{n}") for n in range(4)]
    assert entry.sentence.startswith("4 videos of test are in val too: t0 is v0 (bytes hash0); ")
    assert entry.sentence.endswith("; …")


def test_one_clip_twice_in_one_split_is_no_leak() -> None:
    assert same_content([record("a", "test", uri="x.mp4"), record("b", "test", uri="x.mp4")]) == ()


def test_three_splits_give_three_pairs_the_furthest_held_out_first() -> None:
    records = [record(split, split, uri="x.mp4") for split in ("train", "val", "test")]
    assert [(e.split_a, e.split_b) for e in same_content(records)] == [
        ("test", "val"),
        ("test", "train"),
        ("val", "train"),
    ]

"""What is measured of a dataset."""

from __future__ import annotations

import numpy as np
import pytest

from conical.core.records import VideoRecord
from conical.datasets.checks.distributions import Distribution, caption_distributions, distribution, stated_seconds

RECORDS = [
    VideoRecord(video_id="a", uri="", split="train", captions=("one two", "three")),
    VideoRecord(video_id="b", uri="", split="train"),
    VideoRecord(video_id="c", uri="", split="test", captions=("a b c d",)),
]


def test_captions_words_and_tokens_are_counted_split_by_split() -> None:
    found = {one.name: one for one in caption_distributions(RECORDS, count_tokens=len)}
    assert {name: {split: values.tolist() for split, values in one.splits.items()} for name, one in found.items()} == {
        "captions per video": {"train": [2.0, 0.0], "test": [1.0]},
        "words per caption": {"train": [2.0, 1.0], "test": [4.0]},
        "tokens per caption": {"train": [7.0, 5.0], "test": [7.0]},
    }
    assert found["words per caption"].values.tolist() == [2.0, 1.0, 4.0]
    assert repr(found["words per caption"]) == "Distribution('words per caption', train=2, test=1)"


def test_a_quantity_without_a_value_is_left_out() -> None:
    assert distribution(RECORDS, lambda record: [], name="x") is None
    assert [one.name for one in caption_distributions(RECORDS[1:2], count_tokens=len)] == ["captions per video"]
    with pytest.raises(ValueError, match="distribution 'x' must have a value, got none: leave it out"):
        Distribution(name="x", unit="", splits={})
    with pytest.raises(AssertionError):
        Distribution(name="x", unit="", splits={"val": np.array([])})


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"start_seconds": 2.0, "end_seconds": 5.5}, 3.5),
        ({"extra": {"source_start_seconds": 10, "source_end_seconds": 22.5}}, 12.5),
        ({"extra": {"source_start_seconds": 10}, "end_seconds": 4.0}, 4.0),
    ],
)
def test_the_annotated_duration(fields, seconds: float | None) -> None:
    assert stated_seconds(VideoRecord(video_id="a", uri="", split="val", **fields)) == seconds

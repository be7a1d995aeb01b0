"""Captions that say the same, and captions that are too long."""

from __future__ import annotations

import doctest

import pytest

from conical.core.records import VideoRecord
from conical.datasets.checks import texts as module
from conical.datasets.checks.texts import long_captions, plain_text, repeated_queries, same_captions


def video(video_id: str, split: str, *captions: str) -> VideoRecord:
    return VideoRecord(video_id=video_id, uri="", split=split, captions=captions)


@pytest.mark.parametrize(
    ("caption", "other"),
    [("A  dog\truns ", "a dog runs"), ("Ｃafe\u0301"[1:], "afé"), ("STRASSE", "straße"), ("Σίσυφος", "ΣΊΣΥΦΟΣ")],
    ids=["blanks and case", "composition", "folding", "final sigma"],
)
def test_captions_of_one_plain_text(caption: str, other: str) -> None:
    assert plain_text(caption) == plain_text(other)


@pytest.mark.parametrize("other", ["a dog run", "a dog, runs", "a dög runs"])
def test_captions_that_differ(other: str) -> None:
    assert plain_text("a dog runs") != plain_text(other)


def test_a_caption_of_two_splits_is_found() -> None:
    records = [
        video("t1", "train", "a dog runs", "A dog  runs"),  # of one video: counts once
        video("t2", "train", "a dog runs"),
        video("v", "val", "a cat"),
        video("e1", "test", "A DOG RUNS", "a cat"),
        video("e2", "test", "a bird"),
    ]
    found = [(one.video_a, one.split_b, one.video_b, one.value, one.detail) for one in same_captions(records)]
    assert found == [
        ("e1", "train", "t1", 2.0, "“a dog runs” describes 2 videos of train too"),
        ("e1", "val", "v", 1.0, "“a cat” describes 1 video of val too"),
    ]


def test_a_query_of_several_videos_is_found_once() -> None:
    records = [
        video("e1", "test", "a dog"),
        video("e2", "test", "A dog "),
        video("e3", "test", "a dog", "a cat", "a cat"),
        video("t1", "train", "a fish"),  # nobody searches train
        video("t2", "train", "a fish"),
    ]
    (found,) = repeated_queries(records)
    assert (found.split_a, found.video_a, found.video_b, found.value) == ("test", "e1", "e2", 3.0)
    assert found.detail == "“a dog” describes 3 videos"


def test_captions_of_more_tokens_than_the_limit_are_found() -> None:
    fits, long = "ab cd ef", "ab cd ef gh"
    records = [video("a", "train", fits, long, long), video("b", "test", "")]
    (found,) = long_captions(records, count_tokens=lambda text: len(text.split()), limit=3)
    assert (found.video_a, found.value, found.detail) == ("a", 4.0, "4 tokens: “ab cd ef gh”")


def test_a_long_text_is_shown_by_its_beginning() -> None:
    (found,) = long_captions([video("a", "val", "word " * 40)], count_tokens=lambda text: 40, limit=3)
    assert len(found.detail) < 80
    assert found.detail.endswith("word…”")


def test_the_examples_of_the_docstrings() -> None:
    outcome = doctest.testmod(module)
    assert (outcome.failed, outcome.attempted) == (0, 1)

"""Captions of a published split that are not the published ones are named, whatever else is right."""

from __future__ import annotations

import json

import pytest

from conical.core.records import VideoRecord
from conical.datasets import DatasetCard, PublishedList, cards, published_captions
from conical.datasets.annotations import Annotations, hash_ids
from conical.datasets.cards import DATASETS, read_dataset

IDS = ("a", "b", "c")
PUBLISHED = {"a": ("a dog  runs", "a dog"), "b": ("caf\u00e9",), "c": ("it ends.",)}


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        published_captions, "_published", lambda: {"mine": {"test": published_captions.encode_list(IDS, PUBLISHED)}}
    )


@pytest.mark.parametrize(
    ("changes", "altered"),
    [
        ({}, ()),
        ({"a": ("a dog", " a dog runs ")}, ()),  # order and blanks
        ({"b": ("cafe\u0301",)}, ()),  # Unicode
        ({"b": PUBLISHED["c"], "c": PUBLISHED["b"]}, ("b", "c")),  # swapped
        ({"a": ("a dog runs",)}, ("a",)),  # one left out
        ({"a": (*PUBLISHED["a"], "more")}, ("a",)),
        ({"c": ("It ends.",)}, ("c",)),  # case counts: tokenizers differ in it
        ({"c": ()}, ("c",)),
    ],
)
def test_altered_captions_are_found(changes: dict[str, tuple[str, ...]], altered: tuple[str, ...]) -> None:
    assert published_captions.altered_videos("mine", {"test": IDS}, {**PUBLISHED, **changes}) == {"test": altered}


def test_lists_that_nothing_is_known_of_are_left_alone() -> None:
    assert published_captions.altered_videos("mine", {"other": IDS}, PUBLISHED) == {}
    assert published_captions.altered_videos("yours", {"test": IDS}, PUBLISHED) == {}
    assert published_captions.altered_videos("mine", {"test": IDS[:2]}, PUBLISHED) == {}
    assert published_captions.altered_videos("mine", {"test": IDS}, {}) == {}


def test_an_import_says_how_many_differ_and_the_option_that_changes_captions_is_not_blamed(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {**PUBLISHED, "b": PUBLISHED["c"], "c": PUBLISHED["b"]}

    def read(root, *, order: str = "") -> Annotations:
        records = tuple(VideoRecord(video_id=name, uri="", split="test", captions=said[name]) for name in IDS)
        return Annotations(videos=records, lists={"test": IDS})

    card = DatasetCard(
        name="mine",
        description="",
        reader=read,
        source="",
        licence="",
        lists={"": {"test": PublishedList(count=3, ids_hash=hash_ids(IDS))}},
        caption_options=("order",),
    )
    monkeypatch.setitem(DATASETS, "mine", card)
    for name in IDS:
        (tmp_path / f"{name}.mp4").touch()
    _, summary = read_dataset("mine", tmp_path)
    assert summary.altered == {"test": 2}
    assert summary.notes == ("differs from the published captions in 2 videos of list test: b, c",)
    assert read_dataset("mine", tmp_path, order="time")[1].altered == {}


def test_every_list_with_hashes_is_one_of_its_card() -> None:
    for name, lists in json.loads(published_captions._FILE.read_text(encoding="ascii")).items():
        known = {list_name for variant in cards.DATASETS[name].lists.values() for list_name in variant}
        assert set(lists) <= known

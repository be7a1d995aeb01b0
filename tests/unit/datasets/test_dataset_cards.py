from __future__ import annotations

import json
from pathlib import Path

import pytest

from conical import datasets
from conical.core.errors import ConfigError, DataError
from conical.core.records import SPLITS, VideoRecord
from conical.datasets import DATASETS, DatasetCard, PublishedList, check_records


@pytest.mark.parametrize("name", DATASETS)
def test_every_card_is_complete(name: str) -> None:
    card = DATASETS[name]
    assert card.name == name
    assert all((card.description, card.source, card.licence))
    assert set(card.splits) <= set(SPLITS)
    assert callable(card.reader)


def test_a_users_list_is_loaded_by_name(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"video_id": "a", "uri": "a.mp4", "split": "test"}))
    (tmp_path / "a.mp4").touch()
    assert [record.video_id for record in datasets.load("manifest", tmp_path)] == ["a"]


def test_an_unknown_dataset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown dataset 'scens': choose one of scenes, manifest.*Did you mean 'scenes'"
    ):
        datasets.load("scens", tmp_path)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset root .*absent of 'scenes' must be a folder"):
        datasets.load("scenes", tmp_path / "absent")


def test_an_option_that_the_reader_has_not_got_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^dataset 'scenes' has no option 'colour': choose one of videos, validation\.$"
    ):
        datasets.load("scenes", tmp_path, colour="red")
    with pytest.raises(
        ConfigError,
        match=r"'manifest' has no option 'video': choose one of file, videos, validation. Did you mean 'videos'",
    ):
        datasets.load("manifest", tmp_path, video="clips")


def test_a_defect_inside_a_reader_does_not_pass_for_a_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reader(root: Path) -> list[VideoRecord]:
        return _record(colour="red")  # type: ignore[call-arg]

    card = DatasetCard(name="defect", description="x", reader=reader, source="x", licence="x")
    monkeypatch.setitem(DATASETS, "defect", card)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        datasets.load("defect", tmp_path)


def test_a_reader_may_take_options_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(root: Path, **options: str) -> list[VideoRecord]:
        return [_record(video_id=options["colour"])]

    (tmp_path / "a.mp4").touch()
    card = DatasetCard(name="open", description="x", reader=reader, source="x", licence="x")
    monkeypatch.setitem(DATASETS, "open", card)
    assert [record.video_id for record in datasets.load("open", tmp_path, colour="red")] == ["red"]


def test_a_name_that_is_no_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataset 'json:loads' must name a DatasetCard, got function"):
        datasets.load("json:loads", tmp_path)


def _record(video_id: str = "a", split: str = "train", captions: tuple[str, ...] = ("x",)) -> VideoRecord:
    return VideoRecord(video_id=video_id, uri="a.mp4", split=split, captions=captions)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "dataset 'mine' is empty"),
        ([_record(), _record()], "video ids of 'mine' must be unique, but 'a' comes 2 times"),
        ([_record()], "split 'test' of 'mine' has no captioned video; splits that have: train"),
        ([_record(split="test", captions=())], "split 'test' of 'mine' has no captioned video; splits that have: none"),
    ],
)
def test_a_dataset_that_contradicts_itself_is_refused(records: list[VideoRecord], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_records(records, name="mine", splits=("test",))


def test_published_counts_are_asserted_even_where_videos_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = DatasetCard(
        name="three",
        description="x",
        reader=lambda root: [_record()],
        source="x",
        licence="x",
        lists={"": {"train": PublishedList(count=3)}},
    )
    monkeypatch.setitem(DATASETS, "three", card)
    with pytest.raises(DataError, match="list 'train' of 'three' must have 3 videos, got 1: take the published files"):
        datasets.read_dataset("three", tmp_path, allow_missing=True)


def _users_list(root: Path, splits: str) -> None:
    rows = [{"video_id": f"v{k}", "split": {"r": "train", "v": "val", "t": "test"}[s]} for k, s in enumerate(splits)]
    (root / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for row in rows:
        (root / f"{row['video_id']}.mp4").touch()


def test_a_users_list_without_val_gets_a_held_out_one(tmp_path: Path) -> None:
    _users_list(tmp_path, "rrrrrrt")
    records, summary = datasets.read_dataset("manifest", tmp_path, validation="2")
    assert sorted(record.split for record in records) == ["test", "train", "train", "train", "train", "val", "val"]
    assert summary.splits["val"].found == 2
    again = datasets.load("manifest", tmp_path, validation="2")
    assert again == records


@pytest.mark.parametrize(
    ("splits", "validation", "message"),
    [
        ("rrt", "two", "option validation must be a number of videos >= 0, got 'two'"),
        ("rvt", "1", "option validation must be left out for 'manifest': it has a val split"),
    ],
)
def test_a_held_out_val_that_makes_no_sense_is_refused(
    tmp_path: Path, splits: str, validation: str, message: str
) -> None:
    _users_list(tmp_path, splits)
    with pytest.raises(ConfigError, match=message):
        datasets.load("manifest", tmp_path, validation=validation)

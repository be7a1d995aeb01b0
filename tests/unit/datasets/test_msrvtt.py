"""MSR-VTT, generated in the published form: 700 videos, of which the official files train on 600."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conical.core.errors import ConfigError, DataError
from conical.datasets.annotations import Annotations
from conical.datasets.readers.msrvtt import read_msrvtt

NUM_VIDEOS, NUM_TRAIN, NUM_VAL = 700, 580, 20  # official; the other 100 are test
NUM_TEST_1K_A = 40


def _official(number: int) -> str:
    return "train" if number < NUM_TRAIN else "validate" if number < NUM_TRAIN + NUM_VAL else "test"


def _source(number: int) -> int:
    """Three clips of one video, for the first half of them."""
    return number // 3 if number < 351 else number


def _content(numbers: range) -> dict[str, Any]:
    return {
        "info": {"year": "2016"},
        "videos": [
            {
                "category": number % 20,
                "url": f"https://www.youtube.com/watch?v=source{_source(number):05d}",
                "video_id": f"video{number}",
                "start time": 10 * (number % 3) + 0.5,
                "end time": 10 * (number % 3) + 10,
                "split": _official(number),
                "id": number,
            }
            for number in numbers
        ],
        # sentences do not stand in the order of the videos
        "sentences": [
            {"caption": f"caption {k} of {number}", "video_id": f"video{number}", "sen_id": k}
            for k in range(3)
            for number in reversed(numbers)
        ],
    }


TRAIN_VAL, TEST = _content(range(NUM_TRAIN + NUM_VAL)), _content(range(NUM_TRAIN + NUM_VAL, NUM_VIDEOS))
BOTH = {name: TRAIN_VAL[name] + TEST[name] for name in ("videos", "sentences")}
TEST_IDS = [f"video{number}" for number in range(NUM_VIDEOS - NUM_TEST_1K_A, NUM_VIDEOS)]


def _write_csv(root: Path, sentence: Callable[[str], str] = lambda key: f"caption 1 of {key[5:]}") -> None:
    rows = [f"ret{k},msr{k},{key},{sentence(key)}" for k, key in enumerate(TEST_IDS)]
    (root / "MSRVTT_JSFUSION_test.csv").write_text("\n".join(["key,vid_key,video_id,sentence", *rows]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The official pair, one of them zipped, and the test list of 1k-A."""
    (tmp_path / "test_videodatainfo.json").write_text(json.dumps(TEST))
    with zipfile.ZipFile(tmp_path / "train_val_annotation.zip", "w") as archive:
        archive.writestr("train_val_videodatainfo.json", json.dumps(TRAIN_VAL))
        archive.writestr("category.txt", "music 0")
    _write_csv(tmp_path)
    return tmp_path


def _counts(annotations: Annotations) -> dict[str, int]:
    return dict(Counter(record.split for record in annotations.videos))


def test_1k_a_trains_on_all_but_its_test_and_holds_500_out(root: Path) -> None:
    annotations = read_msrvtt(root)
    assert annotations.variant == "1k-A"
    assert _counts(annotations) == {"train": NUM_VIDEOS - NUM_TEST_1K_A - 500, "val": 500, "test": NUM_TEST_1K_A}
    assert {name: len(ids) for name, ids in annotations.lists.items()} == {
        "train-9k": NUM_VIDEOS - NUM_TEST_1K_A,
        "test-1k-A": NUM_TEST_1K_A,
        "val-500-of-9k": 500,
    }
    assert annotations.notes == ()


def test_a_record_says_source_place_and_captions_and_leaves_the_file_whole(root: Path) -> None:
    (record,) = [record for record in read_msrvtt(root).videos if record.video_id == "video4"]
    assert record.captions == ("caption 0 of 4", "caption 1 of 4", "caption 2 of 4")
    assert record.source_id == "source00001"
    assert record.extra == {"source_start_seconds": 10.5, "source_end_seconds": 20.0, "category": 4}
    assert (record.uri, record.start_seconds, record.end_seconds) == ("", 0.0, None)


def test_1k_a_asks_the_sentence_of_the_csv_and_only_that(root: Path) -> None:
    _write_csv(root, lambda key: '"one, two"' if key == TEST_IDS[0] else f"caption 1 of {key[5:]}")
    annotations = read_msrvtt(root)
    captions = {record.video_id: record.captions for record in annotations.videos if record.split == "test"}
    assert captions[TEST_IDS[0]] == ("one, two",)
    assert captions[TEST_IDS[1]] == (f"caption 1 of {TEST_IDS[1][5:]}",)
    assert annotations.notes == (
        "1 of 40 test sentences of MSRVTT_JSFUSION_test.csv are not among their video's own captions",
    )


def test_a_csv_of_train_9k_is_taken_as_it_is(root: Path) -> None:
    ids = [f"video{number}" for number in range(NUM_TRAIN + NUM_VAL)]
    (root / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *ids]))
    assert list(read_msrvtt(root).lists["train-9k"]) == ids


def test_7k_trains_on_the_official_train_and_val(root: Path) -> None:
    annotations = read_msrvtt(root, split="1k-A-7k")
    assert _counts(annotations) == {"train": NUM_TRAIN + NUM_VAL - 500, "val": 500, "test": NUM_TEST_1K_A}
    assert len(annotations.lists["train-7k"]) == NUM_TRAIN + NUM_VAL
    assert len(annotations.lists["val-500-of-7k"]) == 500
    (root / "MSRVTT_train.7k.csv").write_text(
        "\n".join(["video_id", *(f"video{number}" for number in range(NUM_TRAIN))])
    )
    assert len(read_msrvtt(root, split="1k-A-7k").lists["train-7k"]) == NUM_TRAIN


def test_1k_b_reads_its_two_lists_and_asks_the_first_sentence(root: Path) -> None:
    (root / "train_list_miech.txt").write_text("\n".join(f"video{number}" for number in range(560)))
    (root / "test_list_miech.txt").write_text("video600\nvideo601\n")
    annotations = read_msrvtt(root, split="1k-B")
    assert _counts(annotations) == {"train": 60, "val": 500, "test": 2}
    assert set(annotations.lists) == {"train-1k-B", "test-1k-B", "val-500-of-1k-B"}
    assert {r.video_id: r.captions for r in annotations.videos if r.split == "test"} == {
        "video600": ("caption 0 of 600",),
        "video601": ("caption 0 of 601",),
    }


def test_full_has_the_official_splits_and_all_sentences(root: Path) -> None:
    annotations = read_msrvtt(root, split="full")
    assert _counts(annotations) == {"train": NUM_TRAIN, "val": NUM_VAL, "test": 100}
    assert all(len(record.captions) == 3 for record in annotations.videos)
    assert {name: len(ids) for name, ids in annotations.lists.items()} == {
        "train-full": NUM_TRAIN,
        "val-full": NUM_VAL,
        "test-full": 100,
    }


def test_val_shares_no_source_with_train_or_test(root: Path) -> None:
    for split in ("1k-A", "1k-A-7k"):
        sources = {"train": set(), "val": set(), "test": set()}
        for record in read_msrvtt(root, split=split).videos:
            sources[record.split].add(record.source_id)
        assert sources["val"].isdisjoint(sources["train"] | sources["test"])


def test_one_file_of_all_videos_reads_like_the_pair(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "MSRVTT_data.json").write_text(json.dumps(BOTH))
    _write_csv(other)
    for split in ("1k-A", "full"):
        pair, one = ({r.video_id: r for r in read_msrvtt(place, split=split).videos} for place in (root, other))
        assert pair == one


def test_both_forms_may_lie_side_by_side_unless_they_differ(root: Path) -> None:
    (root / "MSRVTT_data.json").write_text(json.dumps(BOTH))
    before = read_msrvtt(root, split="full")
    assert len(before.videos) == NUM_VIDEOS
    changed = json.loads(json.dumps(BOTH))
    changed["sentences"][-1]["caption"] = "cleaned"
    (root / "MSRVTT_data.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match=r"MSRVTT_data.json.* and .* both describe video600 and differ: leave one file"):
        read_msrvtt(root)


def test_half_of_the_pair_is_not_enough(root: Path) -> None:
    (root / "test_videodatainfo.json").unlink()
    with pytest.raises(
        DataError,
        match=r"40 videos of train-9k and test-1k-A have no captions among the 600 videos there \(the first: "
        r"'video660'\): train_val_ and test_videodatainfo.json are both needed",
    ):
        read_msrvtt(root)


def test_missing_files_are_named(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root / "MSRVTT_JSFUSION_test.csv").unlink()
    with pytest.raises(DataError, match=r"there is no MSRVTT_JSFUSION_test.csv under .*: 1k-A takes its test videos"):
        read_msrvtt(root)
    with pytest.raises(
        DataError, match=r"there is no train_list_miech.txt under .*: 1k-B is defined by train_list_mie"
    ):
        read_msrvtt(root, split="1k-B")
    with pytest.raises(DataError, match=r"there is no \*_videodatainfo.json or MSRVTT_data.json under .*: download"):
        read_msrvtt(tmp_path_factory.mktemp("empty"))


def test_a_split_that_is_none_names_the_nearest(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"option split of 'msrvtt' must be one of 1k-A, .*; got '1ka'"):
        read_msrvtt(root, split="1ka")


def _broken(**changes: Any) -> dict[str, Any]:
    content = _content(range(600, 700))
    content["videos"][0] |= {key: value for key, value in changes.items() if value is not None}
    for key in [key for key, value in changes.items() if value is None]:
        del content["videos"][0][key]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"test_videodatainfo.json must be dict, got \[\]"),
        ({"videos": []}, "test_videodatainfo.json: the field 'sentences' is missing, it has videos"),
        ({"videos": {}, "sentences": []}, "test_videodatainfo.json: videos must be list, got {}"),
        ({"videos": [1], "sentences": []}, r"test_videodatainfo.json, videos\[0\] must be dict, got 1"),
        (_broken(url=None), r"videos\[0\]: the field 'url' is missing, it has category, video_id"),
        (
            _broken(url="https://example.org/1"),
            r"videos\[0\]: url must be an address of a YouTube video, got 'https://e",
        ),
        (_broken(split="holdout"), r"videos\[0\]: split must be one of train, validate, test; got 'holdout'"),
        (_broken(video_id=7), r"videos\[0\]: video_id must be str, got 7"),
        (_broken(video_id="../7"), r"json has sentences of 'video600', which is none of its videos: get it anew"),
        (
            _broken(video_id="video601"),
            r"videos\[1\]: video_id 'video601' stands in .*videos\[0\] too: download it again",
        ),
        (_broken(category="music"), r"videos\[0\]: category must be int, got 'music'"),
        (
            {**_broken(), "sentences": [{"caption": "x"}]},
            r"sentences\[0\]: the field 'video_id' is missing, it has capt",
        ),
        (
            {**_broken(), "sentences": [{"video_id": "video600", "caption": None}]},
            r"\[0\]: caption must be str, got None",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_entry(root: Path, content: object, message: str) -> None:
    (root / "test_videodatainfo.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_msrvtt(root)

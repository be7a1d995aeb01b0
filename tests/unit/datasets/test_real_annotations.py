"""Real annotation files, where they are on the machine: CONICAL_SHARED_DATA, or shared/data beside the checkout.

The same readers run on generated files of the same forms in test_msrvtt.py, test_msvd.py and test_didemo.py.
"""

from __future__ import annotations

import json
import os
import pickle
from collections import defaultdict
from pathlib import Path

import pytest

from conical.core.errors import DataError
from conical.core.records import SplitCount, VideoRecord
from conical.datasets.cards import read_dataset

DATA = Path(os.environ.get("CONICAL_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="real annotations are absent: set CONICAL_SHARED_DATA"),
]
ANNOTATIONS = DATA / "annotations"


def _sources(records: list[VideoRecord], *splits: str) -> dict[str, list[tuple[float, float]]]:
    sources = defaultdict(list)
    for record in records:
        if record.split in splits:
            place = (record.extra["source_start_seconds"], record.extra["source_end_seconds"])
            sources[record.source_id].append(place)
    return sources


def test_msrvtt_full_has_10000_videos_and_200000_captions() -> None:
    records, summary = read_dataset("msrvtt", ANNOTATIONS / "msrvtt", allow_missing=True, split="full")
    assert (len(records), summary.num_captions) == (10_000, 200_000)
    assert [summary.splits[split].expected for split in ("train", "val", "test")] == [6513, 497, 2990]


@pytest.mark.parametrize(("split", "count"), [("1k-A", 9000), ("1k-A-7k", 7010)])
def test_1k_a_is_asserted_by_hash_and_val_leaves_its_leaks_as_they_are(split: str, count: int) -> None:
    records, summary = read_dataset("msrvtt", ANNOTATIONS / "msrvtt", allow_missing=True, split=split)
    assert {name: counted.expected for name, counted in summary.splits.items()} == {
        "train": count - 500,
        "val": 500,
        "test": 1000,
    }
    assert len(summary.lists) == 3
    assert all(len(record.captions) == (1 if record.split == "test" else 20) for record in records)
    train, val, test = (_sources(records, name) for name in ("train", "val", "test"))
    assert not val.keys() & (train.keys() | test.keys())
    if split == "1k-A":
        shared = [record for record in records if record.split == "test" and record.source_id in train]
        overlapping = [
            record
            for record in shared
            if any(
                start < record.extra["source_end_seconds"] and record.extra["source_start_seconds"] < end
                for start, end in train[record.source_id]
            )
        ]
        assert (len(shared), len(overlapping)) == (372, 52)


def test_msvd_has_1970_videos_and_80827_captions_from_any_of_its_files(tmp_path: Path) -> None:
    root = ANNOTATIONS / "msvd"
    records, summary = read_dataset("msvd", root, allow_missing=True)
    assert (len(records), summary.num_captions) == (1970, 80_827)
    assert [summary.splits[split].expected for split in ("train", "val", "test")] == [1200, 100, 670]
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}_list.txt").symlink_to(root / f"{split}_list.txt")
    captions = json.loads((root / "captions_msvd.json").read_text())
    words = {video_id: [text.split(" ") for text in texts] for video_id, texts in captions.items()}
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(words, protocol=2))
    assert read_dataset("msvd", tmp_path, allow_missing=True)[0] == records
    (tmp_path / "raw-captions.pkl").unlink()
    lines = [f"{video_id} {text}" for video_id, texts in captions.items() for text in texts]
    (tmp_path / "AllVideoDescriptions.txt").write_text("\n".join(lines))
    assert read_dataset("msvd", tmp_path, allow_missing=True)[0] == records


def test_didemo_has_1004_test_paragraphs_and_reports_its_train_split() -> None:
    records, summary = read_dataset("didemo", ANNOTATIONS / "didemo", allow_missing=True)
    test = [record for record in records if record.split == "test"]
    assert len(test) == 1004
    assert all(len(record.captions) == 1 for record in records)
    assert summary.splits == {
        "train": SplitCount(expected=8392, found=0),
        "val": SplitCount(expected=1065, found=0),
        "test": SplitCount(expected=1004, found=0),
    }
    assert sum(len(record.extra["sentences"]) for record in test) == 4021 - 89
    both = read_dataset("didemo", ANNOTATIONS / "didemo", allow_missing=True, names="all")[0]
    assert sum(len(record.extra["sentences"]) for record in both if record.split == "test") == 4021


@pytest.mark.parametrize("name", ["msvd", "didemo"])
def test_missing_videos_are_refused_unless_allowed(name: str) -> None:
    with pytest.raises(DataError, match=rf"videos of '{name}' are missing: train [\d,]+ expected, 0 found.*first ten"):
        read_dataset(name, ANNOTATIONS / name)


@pytest.mark.parametrize(
    ("name", "options"), [("msrvtt", {"split": "1k-A"}), ("msrvtt", {"split": "full"}), ("msvd", {}), ("didemo", {})]
)
def test_the_published_captions_are_known_as_such(name: str, options: dict[str, str]) -> None:
    assert read_dataset(name, ANNOTATIONS / name, allow_missing=True, **options)[1].altered == {}


def test_two_swapped_test_sentences_are_noticed(tmp_path: Path) -> None:
    for file in (ANNOTATIONS / "msrvtt").iterdir():
        (tmp_path / file.name).symlink_to(file)
    test = tmp_path / "MSRVTT_JSFUSION_test.csv"
    header, first, second, *rest = test.read_text(encoding="utf-8").splitlines()
    test.unlink()
    a, b = (line.rpartition(",") for line in (first, second))
    swapped = [f"{a[0]},{b[2]}", f"{b[0]},{a[2]}"]
    test.write_text("\n".join([header, *swapped, *rest]) + "\n", encoding="utf-8")
    summary = read_dataset("msrvtt", tmp_path, allow_missing=True, split="1k-A")[1]
    assert summary.altered == {"test": 2}
    assert any(
        note.startswith("differs from the published captions in 2 videos of list test-1k-A") for note in summary.notes
    )

"""MSR-VTT: 10,000 clips of YouTube videos, 20 sentences each.

Captions come from the official pair `train_val_videodatainfo.json` and `test_videodatainfo.json`, or from
`MSRVTT_data.json`, which holds both in one; splits from lists that other papers published:

    1k-A      9,000 videos of train, 1,000 of test with one sentence each (JSFusion's csv)
    1k-A-7k   the same test; train is the official train and validation, 7,010 videos
    1k-B      6,656 and 1,000 videos (Miech's lists), the first sentence of each test video
    full      the official 6,513, 497 and 2,990 videos, all sentences

Only the last has a validation split. The others get 500 videos of their train split, by `hold_out`.

Sources: Xu et al., MSR-VTT, CVPR 2016 (full); Yu et al., JSFusion, ECCV 2018 (1k-A); Miech et al., arXiv:1804.02516
(1k-B).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets.annotations import Annotations, PublishedList
from conical.datasets.readers.annotation_entries import entry, split_of_each, to_record, typed
from conical.datasets.readers.annotation_files import AnnotationFile, AnnotationFiles, read_json
from conical.datasets.readers.csv_files import read_ids, read_rows
from conical.datasets.readers.reader_options import require_option
from conical.datasets.split_names import split_named
from conical.datasets.validation import hold_out

MSRVTT_SPLITS = ("1k-A", "1k-A-7k", "1k-B", "full")
NUM_HELD_OUT = 500
SALT = "conical MSR-VTT validation 1"
_TEST_1K_A = PublishedList(count=1000, ids_hash="3bccbea9c70078ea")
# Hashes of the published files; of 1k-B's train list only the count was at hand
MSRVTT_LISTS = {
    "1k-A": {
        "train-9k": PublishedList(count=9000, ids_hash="3e2bfb06b6948736"),
        "test-1k-A": _TEST_1K_A,
        "val-500-of-9k": PublishedList(count=NUM_HELD_OUT, ids_hash="f5d2d7472aa04f99", is_ours=True),
    },
    "1k-A-7k": {
        "train-7k": PublishedList(count=7010, ids_hash="e60c913f2cbf56cd"),
        "test-1k-A": _TEST_1K_A,
        "val-500-of-7k": PublishedList(count=NUM_HELD_OUT, ids_hash="f5cf481516bf2a5c", is_ours=True),
    },
    "1k-B": {
        "train-1k-B": PublishedList(count=6656),
        "test-1k-B": PublishedList(count=1000, ids_hash="16a5b5b3edc3e1fa"),
    },
    "full": {
        "train-full": PublishedList(count=6513, ids_hash="79b3daf7eeaf3674"),
        "val-full": PublishedList(count=497, ids_hash="c8ce3c4989cb5055"),
        "test-full": PublishedList(count=2990, ids_hash="1b8acca6a94d2b4d"),
    },
}
_TRAIN_9K = ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt")
_YOUTUBE_ID = re.compile(r"(?:[?&]v=|youtu\.be/)([\w-]{11})")


@dataclass(frozen=True, kw_only=True)
class _Video:
    where: str
    split: str
    source_id: str
    extra: dict[str, Any]
    captions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """Split to list name, list name to ids, and the one sentence of test videos where a list fixes it."""

    names: Mapping[str, str]
    ids: Mapping[str, tuple[str, ...]]
    sentences: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_msrvtt(root: str | Path, *, split: str = "1k-A") -> Annotations:
    """Read the annotations of MSR-VTT.

    Args:
        root: folder with the files, in any sub-folder, zipped or not.
        split: one of `MSRVTT_SPLITS`.

    Returns:
        The videos of the split. `source_id` is the YouTube id; a clip's place in that video is in `extra`, since the
        files that people have hold the clip only.

    Raises:
        ConfigError: no such split.
        DataError: a file is missing or broken, or a listed video has no annotation.
    """
    require_option(split, MSRVTT_SPLITS, option="split", dataset="msrvtt")
    files = AnnotationFiles.scan(root)
    videos = _read_videos(files)
    lists = _read_lists(files, videos, split)
    records = _to_records(videos, lists)
    ids = dict(lists.ids)
    if "val" not in lists.names:
        records = hold_out(records, count=NUM_HELD_OUT, salt=SALT)
        held = tuple(record.video_id for record in records if record.split == "val")
        ids[f"val-{NUM_HELD_OUT}-of-{lists.names['train'].removeprefix('train-')}"] = held
    return Annotations(videos=tuple(records), lists=ids, variant=split, notes=lists.notes)


def _read_videos(files: AnnotationFiles) -> dict[str, _Video]:
    video_files = files.matching("*_videodatainfo.json", "MSRVTT_data.json")
    if not video_files:
        files.require("*_videodatainfo.json", "MSRVTT_data.json", why="download MSR-VTT's annotations there")
    videos: dict[str, _Video] = {}
    for file in video_files:
        for video_id, video in _read_one(file).items():
            other = videos.setdefault(video_id, video)
            if sorted(other.captions) != sorted(video.captions) or other.source_id != video.source_id:
                raise DataError(f"{other.where} and {video.where} both describe {video_id} and differ: leave one file")
    return videos


def _read_one(file: AnnotationFile) -> dict[str, _Video]:
    content = typed(read_json(file), dict, str(file))
    captions = defaultdict(list)
    for number, item in enumerate(entry(content, "sentences", list, str(file))):
        where = f"{file}, sentences[{number}]"
        sentence = typed(item, dict, where)
        captions[entry(sentence, "video_id", str, where)].append(entry(sentence, "caption", str, where))
    videos: dict[str, _Video] = {}
    for number, item in enumerate(entry(content, "videos", list, str(file))):
        where = f"{file}, videos[{number}]"
        video = typed(item, dict, where)
        video_id = entry(video, "video_id", str, where)
        if video_id in videos:
            raise DataError(f"{where}: video_id {video_id!r} stands in {videos[video_id].where} too: download it again")
        videos[video_id] = _to_video(video, where, captions.pop(video_id, []))
    if captions:
        raise DataError(f"{file} has sentences of {next(iter(captions))!r}, which is none of its videos: get it anew")
    return videos


def _to_video(video: Mapping[str, Any], where: str, captions: Sequence[str]) -> _Video:
    url, split = entry(video, "url", str, where), entry(video, "split", str, where)
    match = _YOUTUBE_ID.search(url)
    if match is None:
        raise DataError(f"{where}: url must be an address of a YouTube video, got {url!r}: take the published file")
    if not split_named(split):
        raise DataError(f"{where}: split must be one of train, validate, test; got {split!r}: take the published file")
    extra: dict[str, Any] = {
        "source_start_seconds": float(entry(video, "start time", float, where)),
        "source_end_seconds": float(entry(video, "end time", float, where)),
    }
    if "category" in video:
        extra["category"] = entry(video, "category", int, where)
    return _Video(where=where, split=split_named(split), source_id=match[1], extra=extra, captions=tuple(captions))


def _read_lists(files: AnnotationFiles, videos: Mapping[str, _Video], split: str) -> _Lists:
    if split == "full":
        return _official(videos)
    if split == "1k-B":
        return _one_k_b(files, videos)
    return _one_k_a(files, videos, is_9k=split == "1k-A")


def _official(videos: Mapping[str, _Video]) -> _Lists:
    names = {split: f"{split}-full" for split in ("train", "val", "test")}
    ids = {
        name: tuple(video_id for video_id, video in videos.items() if video.split == split)
        for split, name in names.items()
    }
    return _Lists(names=names, ids=ids)


def _one_k_a(files: AnnotationFiles, videos: Mapping[str, _Video], *, is_9k: bool) -> _Lists:
    test = files.require("MSRVTT_JSFUSION_test.csv", why="1k-A takes its test videos and sentences from it")
    rows = read_rows(test, "video_id", "sentence")
    sentences = {row["video_id"]: row["sentence"] for _, row in rows}
    train = files.find(*_TRAIN_9K) if is_9k else files.find("MSRVTT_train.7k.csv")
    if train is not None:
        train_ids = read_ids(train)
    elif is_9k:  # the lists leave no video out
        train_ids = tuple(video_id for video_id in videos if video_id not in sentences)
    else:
        train_ids = tuple(video_id for video_id, video in videos.items() if video.split != "test")
    name = "train-9k" if is_9k else "train-7k"
    others = sum(sentence not in videos[key].captions for key, sentence in sentences.items() if key in videos)
    note = f"{others} of {len(sentences):,} test sentences of {test.name} are not among their video's own captions"
    return _Lists(
        names={"train": name, "test": "test-1k-A"},
        ids={name: train_ids, "test-1k-A": tuple(row["video_id"] for _, row in rows)},
        sentences=sentences,
        notes=(note,) if others else (),
    )


def _one_k_b(files: AnnotationFiles, videos: Mapping[str, _Video]) -> _Lists:
    why = "1k-B is defined by train_list_miech.txt and test_list_miech.txt"
    train, test = (read_ids(files.require(f"{part}_list_miech.txt", why=why)) for part in ("train", "test"))
    return _Lists(
        names={"train": "train-1k-B", "test": "test-1k-B"},
        ids={"train-1k-B": train, "test-1k-B": test},
        sentences={key: videos[key].captions[0] for key in test if key in videos and videos[key].captions},
    )


def _to_records(videos: Mapping[str, _Video], lists: _Lists) -> list[VideoRecord]:
    splits = split_of_each({split: lists.ids[name] for split, name in lists.names.items()})
    _refuse_unknown([video_id for video_id in splits if video_id not in videos], lists, num_known=len(videos))
    records = []
    for video_id, split in splits.items():
        video = videos[video_id]
        is_one_sentence = split == "test" and video_id in lists.sentences
        records.append(
            to_record(
                video.where,
                video_id=video_id,
                split=split,
                captions=(lists.sentences[video_id],) if is_one_sentence else video.captions,
                source_id=video.source_id,
                extra=video.extra,
            )
        )
    return records


def _refuse_unknown(unknown: Sequence[str], lists: _Lists, *, num_known: int) -> None:
    if unknown:
        raise DataError(
            f"{len(unknown):,} videos of {' and '.join(lists.names.values())} have no captions among the {num_known:,} "
            f"videos there (the first: {unknown[0]!r}): train_val_ and test_videodatainfo.json are both needed"
        )

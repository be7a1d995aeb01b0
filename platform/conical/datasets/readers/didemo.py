"""DiDeMo for paragraph-to-video retrieval: the sentences of a video, which describe its moments, joined into one query.

Sentences come from `train_data.json`, `val_data.json` and `test_data.json` of the LocalizingMoments publication, the
videos of each split from `train_list.txt`, `val_list.txt` and `test_list.txt`: 8,392, 1,065 and 1,004 videos. (The
publication counts 8,395 of train; three are not in the lists that retrieval papers use.) A split whose json is not
there is reported as missing.

Files on Flickr had all kinds of extensions, some none behind the dot, and were saved under many names: a video's id
here is its name up to the first dot. The json holds 33 test videos and 29 of val under two names that differ in the
extension only; the lists hold one of them.

Sources: Anne Hendricks et al., Localizing Moments in Video with Natural Language, ICCV 2017; the lists: Liu et al.,
Collaborative Experts, BMVC 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conical.core.errors import DataError
from conical.core.records import SPLITS, VideoRecord
from conical.datasets.annotations import Annotations, PublishedList
from conical.datasets.readers.annotation_entries import entry, split_of_each, to_record, typed
from conical.datasets.readers.annotation_files import AnnotationFile, AnnotationFiles, read_json
from conical.datasets.readers.csv_files import read_ids
from conical.datasets.readers.reader_options import require_option

SENTENCE_ORDERS = ("file", "time")
SENTENCE_NAMES = ("listed", "all")
DIDEMO_LISTS = {
    "": {
        "train": PublishedList(count=8392, ids_hash="5571e4ddb5182b31"),
        "val": PublishedList(count=1065, ids_hash="e4c1faf35be67c85"),
        "test": PublishedList(count=1004, ids_hash="17b9fa5fed3b80d7"),
    }
}
CHUNK_SECONDS = 5  # moments are whole chunks of this length
# Longer videos were cut to this length before people described them (README of the publication)
ANNOTATED_SECONDS = 30.0


@dataclass(frozen=True)
class _Moment:
    name: str
    sentence: str
    start_seconds: float
    end_seconds: float


def read_didemo(root: str | Path, *, order: str = "file", names: str = "listed") -> Annotations:
    """Read the annotations of DiDeMo as paragraphs.

    Args:
        root: folder with the files, in any sub-folder, zipped or not.
        order: of a video's sentences in its paragraph. `file`: as they stand in the json, which is what CLIP4Clip and
            those that follow it do; `time`: by the mean start of the moments that annotators marked, then the mean end.
        names: of a video that is annotated under two names, `listed` takes the sentences under the name in the list,
            as CLIP4Clip does; `all` takes both.

    Returns:
        The listed videos, one caption each; `extra` has the sentences and their moments, in the same order. Decoding
        stops after `ANNOTATED_SECONDS`, since nobody described the rest.

    Raises:
        ConfigError: no such order or names.
        DataError: a file is missing or broken, or a listed video has no sentence in it.
    """
    require_option(order, SENTENCE_ORDERS, option="order", dataset="didemo")
    require_option(names, SENTENCE_NAMES, option="names", dataset="didemo")
    files = AnnotationFiles.scan(root)
    why = "take the file lists of 8,392, 1,065 and 1,004 videos"
    listed = {split: read_ids(files.require(f"{split}_list.txt", why=why)) for split in SPLITS}
    lists = {split: tuple(_video_id(name) for name in listed[split]) for split in SPLITS}
    split_of_each(lists)
    files_by_split = {split: file for split in SPLITS if (file := files.find(f"{split}_data.json"))}
    if not files_by_split:
        files.require(*(f"{split}_data.json" for split in SPLITS), why="download DiDeMo's annotations there")
    records: list[VideoRecord] = []
    notes = [
        f"{split}_data.json is not there: no sentences of {split}" for split in SPLITS if split not in files_by_split
    ]
    for split, file in files_by_split.items():
        moments = _read_moments(file)
        if other := _under_other_names(moments, listed[split]):
            did = "left out" if names == "listed" else "taken"
            notes.append(f"{other:,} sentences of {split} stand under another name of a listed video and are {did}")
        told = _grouped(moments, listed[split], is_by_name=names == "listed")
        records += [_to_record(file, split, key, texts, order=order) for key, texts in told.items()]
    return Annotations(
        videos=tuple(records),
        lists=lists,
        other_names={_video_id(name): (name,) for split in SPLITS for name in listed[split]},
        absent={split: lists[split] for split in SPLITS if split not in files_by_split},
        notes=tuple(notes),
    )


def _video_id(name: str) -> str:
    return name.partition(".")[0]


def _read_moments(file: AnnotationFile) -> list[_Moment]:
    moments = []
    for number, item in enumerate(typed(read_json(file), list, str(file))):
        where = f"{file}, entry {number}"
        annotation = typed(item, dict, where)
        start, end = _mean_chunks(entry(annotation, "times", list, where), where)
        moments.append(
            _Moment(
                entry(annotation, "video", str, where),
                entry(annotation, "description", str, where),
                start * CHUNK_SECONDS,
                (end + 1) * CHUNK_SECONDS,
            )
        )
    return moments


def _mean_chunks(times: Sequence[object], where: str) -> tuple[float, float]:
    """Mean first and last chunk over the annotators."""
    pairs = [typed(pair, list, f"{where}: times") for pair in times]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{where}: times must be pairs of a first and a last chunk, got {times}: download it again")
    chunks = [[typed(chunk, int, f"{where}: times") for chunk in pair] for pair in pairs]
    return sum(pair[0] for pair in chunks) / len(chunks), sum(pair[1] for pair in chunks) / len(chunks)


def _under_other_names(moments: Sequence[_Moment], listed: Sequence[str]) -> int:
    names, ids = set(listed), {_video_id(name) for name in listed}
    return sum(moment.name not in names and _video_id(moment.name) in ids for moment in moments)


def _grouped(moments: Sequence[_Moment], listed: Sequence[str], *, is_by_name: bool) -> dict[str, list[_Moment]]:
    """Video id to its moments, in the order of the list."""
    names = set(listed)
    grouped: dict[str, list[_Moment]] = {_video_id(name): [] for name in listed}
    for moment in moments:
        if (moment.name in names or not is_by_name) and _video_id(moment.name) in grouped:
            grouped[_video_id(moment.name)].append(moment)
    return grouped


def _to_record(
    file: AnnotationFile, split: str, video_id: str, moments: Sequence[_Moment], *, order: str
) -> VideoRecord:
    if not moments:
        raise DataError(f"{file} has no sentence of the listed video {video_id!r}: take json and lists of one dataset")
    if order == "time":
        moments = sorted(moments, key=lambda moment: (moment.start_seconds, moment.end_seconds))
    return to_record(
        f"{file}, {video_id!r}",
        video_id=video_id,
        split=split,
        captions=(" ".join(moment.sentence for moment in moments),),
        end_seconds=ANNOTATED_SECONDS,
        source_id=video_id,
        extra={
            "sentences": [moment.sentence for moment in moments],
            "moments_seconds": [[moment.start_seconds, moment.end_seconds] for moment in moments],
        },
    )

"""VideoMind: videos described in three layers (factual, abstract, intent), with texts of sound, letters and speech.

Its files were not at hand when this was written, and its paper names the layers but not the fields. So nothing here is
checked against a published file: what a field is called is a mapping that the user can give, with names from the paper
as its default, and the counts (100,000 videos to train, 3,000 to test) are not asserted.

    videomind*.json, *.jsonl, *.csv      rows with a field `split`
    train*.json, val*.json, test*.json   (also .jsonl, .csv) rows of one split each

A JSON file holds a list of objects, or an object of objects by video id. A layer may be a text, a list of texts, or an
object of texts (the intents of uploader and characters).

Source: Yang et al., VideoMind, arXiv:2507.18552.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from conical.core.errors import ConfigError, DataError
from conical.core.options import did_you_mean
from conical.core.records import SPLITS, VideoRecord
from conical.datasets.annotations import Annotations
from conical.datasets.readers.annotation_entries import entry, to_record, typed
from conical.datasets.readers.annotation_files import AnnotationFile, AnnotationFiles, parse_json, read_json, read_lines
from conical.datasets.readers.csv_files import read_rows
from conical.datasets.readers.reader_options import require_option

LAYERS = ("factual", "abstract", "intent")
# What this reader knows a field as, and what it is called in the files unless the option `fields` says otherwise
FIELDS = {
    "video_id": "video_id",
    "split": "split",
    **{name: name for name in (*LAYERS, "audio", "ocr", "asr", "subject", "place", "time", "event", "action")},
}
_SUFFIXES = (".json", ".jsonl", ".csv")


def read_videomind(root: str | Path, *, layer: str = "factual", fields: str = "", file: str = "") -> Annotations:
    """Read the annotations of VideoMind.

    Args:
        root: folder with the files, in any sub-folder, zipped or not.
        layer: one of `LAYERS`, or `all` for the captions of all three.
        fields: what fields are called in the files where it is not as in `FIELDS`: `factual=fact,intent=purpose`.
        file: name of the one file to read; "": those named as above.

    Returns:
        The videos; `extra` has all other fields, those of `FIELDS` under the names there.

    Raises:
        ConfigError: no such layer or field.
        DataError: a file is missing or broken, or a video lacks the layer.
    """
    layers = _layers(layer)
    names = _field_names(fields)
    records = []
    notes = ["no file of this dataset was at hand when its reader was written: look at what it read"]
    for source, split in _sources(AnnotationFiles.scan(root), file):
        read = [
            _to_record(row, where, names, layers=layers, split=split)
            for where, row in _read_rows(source, names["video_id"])
        ]
        records += read
        if other := sum(record.split != split for record in read) if split else 0:
            notes.append(
                f"{other:,} of {len(read):,} rows of {source.name} name another split than it does: theirs is kept"
            )
    return Annotations(videos=tuple(records), notes=tuple(notes))


def _layers(layer: str) -> tuple[str, ...]:
    allowed = (*LAYERS, "all")
    require_option(layer, allowed, option="layer", dataset="videomind")
    return LAYERS if layer == "all" else (layer,)


def _field_names(fields: str) -> dict[str, str]:
    names = dict(FIELDS)
    for pair in fields.split(",") if fields else ():
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if ours not in FIELDS or not equals or not theirs:
            raise ConfigError(
                f"option fields of 'videomind' must be like factual=fact,intent=purpose, got {pair!r}; known are "
                f"{', '.join(FIELDS)}.{did_you_mean(ours, FIELDS)}"
            )
        names[ours] = theirs
    return names


def _sources(files: AnnotationFiles, file: str) -> list[tuple[AnnotationFile, str]]:
    """The files to read, with the split of their rows; "" where each row says its own."""
    if file:
        sources = [files.require(file, why="name a file that is there, or none")]
    else:
        stems = ("videomind*", *(f"{split}*" for split in SPLITS))
        sources = files.matching(*(stem + suffix for stem in stems for suffix in _SUFFIXES))
    if not sources:
        raise DataError(
            f"{files.root} holds no videomind*, train*, val* or test* file of {', '.join(_SUFFIXES)}: put it there, or "
            "name it (--option file=NAME)"
        )
    return [(one, _split_of_name(one.name)) for one in sources]


def _split_of_name(name: str) -> str:
    return next((split for split in SPLITS if name.lower().startswith(split)), "")


def _read_rows(file: AnnotationFile, id_field: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    suffix = PurePath(file.name).suffix.lower()
    if suffix == ".csv":
        yield from ((f"{file}, line {number}", row) for number, row in read_rows(file, id_field))
    elif suffix == ".jsonl":
        for number, line in read_lines(file):
            where = f"{file}, line {number}"
            yield where, typed(parse_json(line, where), dict, where)
    else:
        content = read_json(file)
        if isinstance(content, dict):
            for video_id, row in content.items():
                where = f"{file}, {video_id!r}"
                yield where, {id_field: video_id, **typed(row, dict, where)}
        else:
            for number, row in enumerate(typed(content, list, str(file))):
                where = f"{file}, entry {number}"
                yield where, typed(row, dict, where)


def _to_record(
    row: Mapping[str, Any], where: str, names: Mapping[str, str], *, layers: tuple[str, ...], split: str
) -> VideoRecord:
    captions = [
        text for layer in layers for text in _texts(entry(row, names[layer], object, where), f"{where}: {layer}")
    ]
    ours = {theirs: name for name, theirs in names.items()}
    extra = {ours.get(key, key): value for key, value in row.items() if key not in (names["video_id"], names["split"])}
    return to_record(
        where,
        video_id=_video_id(entry(row, names["video_id"], str, where)),
        split=row.get(names["split"]) or split or "train",
        captions=tuple(captions),
        extra=extra,
    )


def _video_id(name: str) -> str:
    """Names of files stand for their videos."""
    return name.removesuffix(".mp4")


def _texts(value: Any, where: str) -> list[str]:
    parts = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else [value]
    return [typed(part, str, where) for part in parts]

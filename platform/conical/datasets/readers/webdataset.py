"""`webdataset`: tar shards as the webdataset tools write them, read in place.

Files of one sample share a key: the path in the shard up to the first dot of the last part. Of a sample are read

    key.mp4     the video, with any video extension
    key.txt     captions, one per line
    key.json    an object: `caption` or `captions`, and where wanted `video_id`, `split`, `source_id`, `start_seconds`,
                `end_seconds`; other fields become `extra`

and everything else is left. The split is that of a folder above the shard (`train/00000.tar`), of its name
(`train-00000.tar`), or of the JSON; where several say it, they must agree.

Source: the file format of https://webdataset.github.io/webdataset; code and wording are our own.
"""

from __future__ import annotations

import math
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.core.shards import SHARD_SUFFIX, ShardIndex, index_shard, member_chunks
from conical.datasets.annotations import Annotations
from conical.datasets.readers.annotation_entries import to_record
from conical.datasets.readers.annotation_files import parse_json
from conical.datasets.split_names import split_named

# fmt: off
VIDEO_EXTENSIONS = frozenset((
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts", "wmv", "flv", "3gp", "3g2", "ogv",
    "ogg", "gif", "vob", "asf", "h264", "h265", "hevc",
))
# fmt: on
_COMPRESSED = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_KEY = re.compile(r"(?P<key>(?:.*/)?[^./]+)\.(?P<extension>[^/]+)")
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "caption": (str,),
    "captions": (list,),
    "video_id": (str,),
    "split": (str,),
    "source_id": (str,),
    "start_seconds": (int, float),
    "end_seconds": (int, float),
}
# No text of a sample is larger; a member may claim any size
_MAX_TEXT_BYTES = 1 << 24


def read_webdataset(root: str | Path) -> Annotations:
    """Read the texts of all shards under a folder; videos stay where they are.

    Args:
        root: folder that holds `.tar` files at any depth.

    Returns:
        A record per sample, by shard, then in the shard's order; `uri` is `shard.tar/member`, or "" where a sample has
        no video.

    Raises:
        DataError: there is no shard, one is compressed or damaged, or a sample contradicts itself.
    """
    root = Path(root)
    videos = tuple(
        sample.to_record() for path in _shards(root) for sample in _samples(root, path) if sample.is_of_a_video
    )
    if not videos:
        raise DataError(f"the shards under {root} hold no video and no caption: a sample is key.mp4 and key.txt")
    _refuse_repeated_ids(videos)
    return Annotations(videos=videos)


@dataclass(kw_only=True)
class _Sample:
    """What the members of one key are, by kind."""

    where: str
    shard: Path
    shard_split: str
    address: str
    key: str
    videos: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)

    @property
    def is_of_a_video(self) -> bool:
        """Whether there is anything to keep: a stray member of another kind is no sample."""
        return bool(self.videos or self.texts or self.objects)

    def add(self, member: str, extension: str) -> None:
        """Sort a member in by the last part of its extension; `key.clip.mp4` is a video too."""
        last = extension.rpartition(".")[2].lower()
        if last in VIDEO_EXTENSIONS:
            self.videos.append(member)
        elif last == "txt":
            self.texts.append(member)
        elif last == "json":
            self.objects.append(member)

    def to_record(self) -> VideoRecord:
        """The record, checked."""
        for members, kind in ((self.videos, "video"), (self.objects, "JSON file")):
            if len(members) > 1:
                raise DataError(f"{self.where} must have one {kind}, got {' and '.join(members)}: split the sample")
        said = self._read_object(self.objects[0]) if self.objects else {}
        captions = [line for member in self.texts for line in _lines(self._read_text(member))]
        # tools often write a caption twice, as text and as JSON
        captions += [caption for caption in _captions(said, self.where) if caption not in captions]
        return to_record(
            self.where,
            video_id=said.get("video_id", self.key.replace("/", "-")),
            uri=f"{self.address}/{self.videos[0]}" if self.videos else "",
            split=self._split(said),
            captions=tuple(captions),
            start_seconds=said.get("start_seconds", 0.0),
            end_seconds=said.get("end_seconds"),
            source_id=said.get("source_id", ""),
            extra={name: value for name, value in said.items() if name not in _FIELD_TYPES},
        )

    def _split(self, said: Mapping[str, Any]) -> str:
        by_object = split_named(said.get("split", "")) or said.get("split", "")
        splits = {split for split in (self.shard_split, by_object) if split}
        if len(splits) > 1:
            raise DataError(
                f"{self.where} must have one split, got {self.shard_split} from the shard's name and {by_object} from "
                "its JSON: mend one of them"
            )
        if not splits:
            raise DataError(
                f"{self.where} has no split: name the shard train-…, val-… or test-…, put it into such a folder, or "
                "write split into the JSON"
            )
        return splits.pop()

    def _read_object(self, member: str) -> dict[str, Any]:
        where = f"{self.address}/{member}"
        said = parse_json(self._read_text(member), where, advice="write one object", constant=_refuse_constant)
        if not isinstance(said, dict):
            raise DataError(f"{where} must be a JSON object, got {type(said).__name__}")
        said = {name: value for name, value in said.items() if value is not None}
        for name, allowed in _FIELD_TYPES.items():
            if name in said and (not isinstance(said[name], allowed) or isinstance(said[name], bool)):
                raise DataError(f"{where}: {name} must be {allowed[0].__name__}, got {said[name]!r}")
            if isinstance(said.get(name), float) and not math.isfinite(said[name]):
                raise DataError(f"{where}: {name} must be finite, got {said[name]!r}: leave it out")
        return said

    def _read_text(self, member: str) -> str:
        where = f"{self.address}/{member}"
        place = index_shard(self.shard).members[member]
        if place.num_bytes > _MAX_TEXT_BYTES:
            raise DataError(
                f"{where} must have at most {_MAX_TEXT_BYTES:,} bytes, got {place.num_bytes:,}: it is no caption"
            )
        try:
            return b"".join(member_chunks(self.shard, place)).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{where} is not UTF-8 text ({error}): save it anew") from error


def _shards(root: Path) -> list[Path]:
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in paths:
        if _COMPRESSED.search(path.name):
            raise DataError(
                f"shards must be plain .tar files, got {path.relative_to(root)}: unpack it to .tar (gunzip, zstd -d), "
                "a member of a compressed one cannot be reached without reading all before it"
            )
        if path.suffix != SHARD_SUFFIX and path.suffix.lower() == SHARD_SUFFIX:
            raise DataError(f"shards must end in {SHARD_SUFFIX}, got {path.relative_to(root)}: rename it")
    shards = [path for path in paths if path.suffix == SHARD_SUFFIX]
    if not shards:
        raise DataError(f"dataset root {root} holds no .tar shard: it must be the folder of the shards")
    return shards


def _samples(root: Path, path: Path) -> Iterator[_Sample]:
    address = path.relative_to(root).as_posix()
    split = _split_of_shard(PurePosixPath(address))
    samples: dict[str, _Sample] = {}
    for member in _sound_index(path, address).members:
        match = _KEY.fullmatch(member)
        # the tools keep names like __index__ for themselves, and names without a dot belong to no sample
        if match is None or re.match(r"__[^/]*__($|/)", member):
            continue
        key = match["key"]
        sample = samples.setdefault(
            key, _Sample(where=f"{address}, sample {key!r}", shard=path, shard_split=split, address=address, key=key)
        )
        sample.add(member, match["extension"])
    yield from samples.values()


def _sound_index(path: Path, address: str) -> ShardIndex:
    try:
        index = index_shard(path)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{address} is not an uncompressed tar file ({error}): copy it again") from error
    if not index.is_whole:
        raise DataError(f"{address} ends without the mark of a tar file's end: it was cut or damaged, copy it again")
    if index.repeated:
        raise DataError(f"{address} holds {index.repeated[0]!r} more than once: keys must be unique, pack it again")
    for member, reason in index.refused.items():
        raise DataError(f"{address} holds {member!r}, {reason}: pack plain files with relative names")
    for member in index.members:
        try:
            member.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{address} holds the name {member!r}, which is not UTF-8 text: rename it") from error
    return index


def _split_of_shard(address: PurePosixPath) -> str:
    """By its folders and by the letters that its name begins with; "" if none names a split."""
    words = [*address.parts[:-1], re.split(r"[^A-Za-z]", address.name, maxsplit=1)[0]]
    splits = {split for word in words if (split := split_named(word))}
    if len(splits) > 1:
        raise DataError(f"{address} must name one split, got {' and '.join(sorted(splits))}: rename it")
    return splits.pop() if splits else ""


def _captions(said: Mapping[str, Any], where: str) -> list[str]:
    captions = [*([said["caption"]] if "caption" in said else []), *said.get("captions", [])]
    if not all(isinstance(caption, str) for caption in captions):
        raise DataError(f"{where}: captions must be a list of strings, got {captions!r}")
    return captions


def _lines(text: str) -> list[str]:
    # only line feeds end a line: a caption may hold other characters that Python would split at
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _refuse_repeated_ids(videos: tuple[VideoRecord, ...]) -> None:
    places: dict[str, str] = {}
    for video in videos:
        if video.video_id in places:
            both = " and ".join(place or "without a video" for place in (places[video.video_id], video.uri))
            raise DataError(
                f"video ids must be unique, but {video.video_id!r} comes twice ({both}): make the keys of all shards "
                "differ, or write video_id into the JSON"
            )
        places[video.video_id] = video.uri

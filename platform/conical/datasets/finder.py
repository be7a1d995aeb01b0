"""Videos found by their ids, wherever they lie under a root and whatever they are called after the id."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conical.core.hashing import file_fingerprint

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
# What may share a video's name and is none: texts, features, sound, pictures. Everything else is tried by the decoder.
_NO_VIDEO = IMAGE_SUFFIXES | {
    *(".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".xml", ".yaml", ".yml", ".toml", ".html", ".pdf", ".srt"),
    *(".vtt", ".ass", ".info", ".log", ".lock", ".md5", ".sha256", ".py", ".sh", ".parquet", ".arrow", ".feather"),
    *(".pkl", ".pickle", ".npy", ".npz", ".pt", ".pth", ".safetensors", ".h5", ".hdf5", ".mat", ".lmdb", ".sqlite"),
    *(".db", ".idx", ".bin", ".wav", ".mp3", ".aac", ".flac", ".m4a", ".opus", ".zip", ".tar", ".gz", ".tgz", ".xz"),
    *(".7z", ".rar", ".part", ".tmp", ".crdownload", ".ytdl", ".download", ".aria2"),
    # what downloaders leave beside a video
    *(".description", ".url", ".webloc", ".desktop", ".srv1", ".srv2", ".srv3", ".ttml", ".sbv", ".lrc", ".nfo"),
    *(".torrent", ".sub"),
}


@dataclass(frozen=True, kw_only=True)
class FoundVideos:
    """Where videos lie.

    Args:
        uris: video id to path relative to the root; videos that were not found are absent.
        ambiguous: video id to all paths that fit, where several do and their bytes differ.
    """

    uris: Mapping[str, str]
    ambiguous: Mapping[str, tuple[str, ...]]

    def __repr__(self) -> str:
        return f"FoundVideos(uris={len(self.uris)}, ambiguous={len(self.ambiguous)})"


def find_videos(root: str | Path, names: Mapping[str, Sequence[str]]) -> FoundVideos:
    """Look for videos under a folder and all that is below it.

    A video is a file whose name, with or without its extension, is one of the wanted names; or a folder of that name
    that holds images. Names are compared in Unicode's composed form: a Mac writes them decomposed. Copies of one file
    count as one, the first by path. Links are followed.

    Args:
        names: video id to the names that its file may have, without extension.

    Returns:
        What was found, and what cannot be told apart.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for video_id, spellings in names.items():
        for spelling in spellings:
            owners[_composed(spelling)].add(video_id)
    paths_by_video: dict[str, list[str]] = defaultdict(list)
    for name, path in _candidates(Path(root)):
        # "a.b.mp4" may be the video "a.b", and a name of a list may carry its extension already
        composed = _composed(name)
        for video_id in owners.get(composed, set()) | owners.get(Path(composed).stem, set()):
            paths_by_video[video_id].append(path)
    uris, ambiguous = {}, {}
    for video_id, paths in paths_by_video.items():
        first, *others = sorted(paths)
        if any(_differ(Path(root) / first, Path(root) / other) for other in others):
            ambiguous[video_id] = (first, *others)
        uris[video_id] = first
    return FoundVideos(uris=uris, ambiguous=ambiguous)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _candidates(root: Path) -> Iterator[tuple[str, str]]:
    """Name and relative path of all that may be a video."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        suffixes = {Path(name).suffix.lower() for name in files}
        relative = os.path.relpath(folder, root)
        if suffixes & IMAGE_SUFFIXES and relative != ".":
            yield Path(folder).name, relative
        for name in files:
            if Path(name).suffix.lower() not in _NO_VIDEO and not name.startswith("."):
                yield name, os.path.normpath(os.path.join(relative, name))  # noqa: PTH118 - a string is wanted


def _differ(a: Path, b: Path) -> bool:
    if not (a.is_file() and b.is_file()) or a.stat().st_size != b.stat().st_size:
        return True
    return not a.samefile(b) and file_fingerprint(a) != file_fingerprint(b)

"""What a dataset's own files say, before its videos are looked for.

A reader turns published annotation files into `Annotations`; it never looks for a video. `conical.datasets.assembling`
then finds the videos, counts, and compares with what the publication fixes, the same way for every dataset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from conical.core.hashing import stable_hash
from conical.core.records import VideoRecord


def hash_ids(ids: Iterable[str]) -> str:
    """Content address of a set of video ids, whatever their order."""
    return stable_hash(sorted(ids))


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The content of annotation files.

    Args:
        videos: one record per video, `uri` "" where the file is to be found by its id under the root. Captions as they
            stand in the files, blank ones included: they are counted and left out later.
        lists: name of a published list (`train-9k`, `test-1k-A`) to its video ids as it holds them, in its order; those
            of the card's variant are compared with it by count and hash.
        variant: which of the card's splits into lists was read (`1k-A`); "" where there is one only.
        other_names: video id to further names that its file may have (MSVD's youtube names), without extension.
        absent: split to ids that a published list names but whose annotations are not there (DiDeMo's train).
        notes: sentences for the user.
    """

    videos: tuple[VideoRecord, ...]
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    variant: str = ""
    other_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Annotations(videos={len(self.videos)}, lists={ {name: len(ids) for name, ids in self.lists.items()} })"


@dataclass(frozen=True, kw_only=True)
class PublishedList:
    """A list of video ids that is fixed, by a publication or, for a held-out val, by this package.

    Args:
        ids_hash: `hash_ids` of them; "": not known, only the count is asserted.
        is_ours: fixed by this package, not by a publication: a held-out validation split.
    """

    count: int
    ids_hash: str = ""
    is_ours: bool = False

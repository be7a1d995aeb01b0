"""What an audit of a dataset finds, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conical.core.records import SPLITS

# Of two videos of a finding the first is in the split that stands first here.
HELD_OUT_FIRST = tuple(reversed(SPLITS))

# Why a test video leaks: these kinds take it off the leak-free list.
LEAK_KINDS = (
    "shared-source",  # cut from a source that another split uses too
    "overlap",  # of the same source, and their times intersect
    "near-duplicate",  # frames that are alike
)
FINDING_KINDS = (
    *LEAK_KINDS,
    "same-caption",  # one text in two splits
    "repeated-query",  # one text for several videos of a split that is searched
    "no-captions",
    "no-file",
    "no-frames",  # set aside by ingest
    "long-caption",  # more tokens than one piece for the text tower
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that an audit found. Of two videos, `a` is in the split that is held out further (test, val, train).

    Args:
        kind: one of `FINDING_KINDS`.
        split_a: split of the video.
        split_b: split of the other video; "" where the finding is about one video.
        video_b: the other video, or the first of several; "" likewise.
        detail: one line for a person.
        value: the number that goes with the kind: videos on the other side (shared-source, same-caption), videos with
            the text (repeated-query), seconds in common (overlap), correlation of the frames (near-duplicate), tokens
            (long-caption), else 0.
    """

    kind: str
    split_a: str
    video_a: str
    split_b: str = ""
    video_b: str = ""
    detail: str = ""
    value: float = 0.0

    def __post_init__(self) -> None:
        assert self.kind in FINDING_KINDS, self.kind
        assert self.split_a in SPLITS, self.split_a
        assert self.split_b in ("", *SPLITS), self.split_b
        assert bool(self.split_b) == bool(self.video_b), self


@dataclass(frozen=True, kw_only=True)
class SplitFindings:
    """Findings of one kind whose first video is in one split.

    Args:
        num_videos: how many such videos.
        total_value: sum of the findings' values.
    """

    num_findings: int
    num_videos: int
    total_value: float


@dataclass(frozen=True, kw_only=True)
class KindCount:
    """How often an audit found one kind of thing.

    Args:
        kind: one of `FINDING_KINDS`.
        splits: by split, the one held out furthest first; splits without a finding are left out.
        example: the first finding; None if there is none.
    """

    kind: str
    splits: Mapping[str, SplitFindings]
    example: Finding | None

"""The same clip in two splits: then what was chosen on one was chosen on the other.

Two videos are the same clip if they are the same window of one file, by its address or its bytes, or the same seconds
of one source. Clips that merely overlap, or share a source, are for the audit (`leaks`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conical.core.findings import HELD_OUT_FIRST
from conical.core.records import VideoRecord
from conical.datasets.checks.leaks import SOURCE_END, SOURCE_START, split_pairs

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class SameContent:
    """What two splits have in common.

    Args:
        split_a: the split that is held out further.
        pairs: a video of each and what they share, such as `file a.mp4`; one pair per video of `split_a`.
    """

    split_a: str
    split_b: str
    pairs: tuple[tuple[str, str, str], ...]

    @property
    def count(self) -> str:
        """How many, in words."""
        count = len(self.pairs)
        videos = f"{count:,} video{'s' if count > 1 else ''}"
        return f"{videos} of {self.split_a} {'are' if count > 1 else 'is'} in {self.split_b} too"

    @property
    def sentence(self) -> str:
        """How many, and the first few by name."""
        named = "; ".join(f"{a} is {b} ({shared})" for a, b, shared in self.pairs[:_NAMED])
        more = "; …" if len(self.pairs) > _NAMED else ""
        return f"{self.count}: {named}{more}"


def same_content(records: Sequence[VideoRecord], *, files: Mapping[str, str] | None = None) -> tuple[SameContent, ...]:
    """Clips that two splits hold.

    Args:
        records: the videos of all splits.
        files: video id to a hash of its file's bytes, where known: copies under other names are found by it.

    Returns:
        One entry per pair of splits that share a clip, the pair that is held out furthest first.
    """
    clips: dict[tuple[object, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for clip in _clips(record, (files or {}).get(record.video_id, "")):
            clips[clip][record.split].append(record.video_id)
    pairs: dict[tuple[str, str], dict[str, tuple[str, str, str]]] = defaultdict(dict)
    for clip, by_split in clips.items():
        for split_a, split_b in split_pairs(by_split):
            for video_id in by_split[split_a]:
                pair = (video_id, min(by_split[split_b]), f"{clip[0]} {clip[1]}")
                pairs[split_a, split_b].setdefault(video_id, pair)
    order = sorted(pairs, key=lambda splits: tuple(map(HELD_OUT_FIRST.index, splits)))
    return tuple(
        SameContent(split_a=a, split_b=b, pairs=tuple(pairs[a, b][video_id] for video_id in sorted(pairs[a, b])))
        for a, b in order
    )


def _clips(record: VideoRecord, file_hash: str) -> Iterator[tuple[object, ...]]:
    """By what the clip can be recognised: kind, name, window."""
    window = (record.start_seconds, math.inf if record.end_seconds is None else record.end_seconds)
    if record.uri:
        yield ("file", record.uri, *window)
    if file_hash:
        yield ("bytes", file_hash, *window)
    if record.source_id and SOURCE_START in record.extra and SOURCE_END in record.extra:
        yield ("source", record.source_id, record.extra[SOURCE_START], record.extra[SOURCE_END])

"""Captions that say the same in places where they should not, and captions that are too long."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence

from conical.core.findings import HELD_OUT_FIRST, Finding
from conical.core.records import VideoRecord
from conical.datasets.checks.leaks import split_pairs

_SHOWN_CHARACTERS = 60


def plain_text(caption: str) -> str:
    """The form in which captions are compared: composed characters, no case, single blanks.

    Source: Unicode NFC and full case folding (Unicode standard, annex 15, and section 3.13).

    >>> plain_text("  A  GROSSE Straße ") == plain_text("a grosse strasse")
    True
    """
    folded = unicodedata.normalize("NFC", caption).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def same_captions(records: Sequence[VideoRecord]) -> list[Finding]:
    """Captions that stand in two splits, compared as `plain_text`.

    Returns:
        One finding for each video, text and split that is held out less; `value` counts the videos with it there.
    """
    findings = []
    for text, by_split in _videos_by_text(records).items():
        for split_a, split_b in split_pairs(by_split):
            others = by_split[split_b]
            findings += [
                Finding(
                    kind="same-caption",
                    split_a=split_a,
                    video_a=video_id,
                    split_b=split_b,
                    video_b=others[0],
                    detail=f"“{_shown(text)}” describes {_videos(len(others))} of {split_b} too",
                    value=float(len(others)),
                )
                for video_id in by_split[split_a]
            ]
    return findings


def repeated_queries(records: Sequence[VideoRecord]) -> list[Finding]:
    """Texts that several videos of val or of test share: as a query each has several right answers.

    Returns:
        One finding per text and split; `value` counts its videos.
    """
    return [
        Finding(
            kind="repeated-query",
            split_a=split,
            video_a=video_ids[0],
            split_b=split,
            video_b=video_ids[1],
            detail=f"“{_shown(text)}” describes {_videos(len(video_ids))}",
            value=float(len(video_ids)),
        )
        for text, by_split in _videos_by_text(records).items()
        for split, video_ids in by_split.items()
        if split != "train" and len(video_ids) > 1
    ]


def long_captions(records: Sequence[VideoRecord], *, count_tokens: Callable[[str], int], limit: int) -> list[Finding]:
    """Captions of more tokens than a text tower reads at once.

    Args:
        count_tokens: tokens of a text, start and end marks not counted.
        limit: most tokens of a piece.

    Returns:
        One finding per caption; `value` counts its tokens.
    """
    return [
        Finding(
            kind="long-caption",
            split_a=record.split,
            video_a=record.video_id,
            detail=f"{count} tokens: “{_shown(caption)}”",
            value=float(count),
        )
        for record in records
        for caption in dict.fromkeys(record.captions)
        # a token holds at least one byte
        if len(caption.encode()) > limit and (count := count_tokens(caption)) > limit
    ]


def _videos_by_text(records: Sequence[VideoRecord]) -> dict[str, dict[str, list[str]]]:
    """Text to split to ids of its videos, each once, in order of their records."""
    videos_by_text: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda record: HELD_OUT_FIRST.index(record.split)):
        for text in dict.fromkeys(plain_text(caption) for caption in record.captions):
            if text:
                videos_by_text[text][record.split].append(record.video_id)
    return videos_by_text


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count:,} videos"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1].rstrip() + "…"

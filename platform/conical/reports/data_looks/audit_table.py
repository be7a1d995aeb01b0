"""What an audit found, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.table import Table
from rich.text import Text

from conical.core.findings import KindCount, SplitFindings

# what it is, and what to do about it
_WORDS = {
    "shared-source": ("Same source in another split", "score the others apart: conical evaluate --subset leak-free"),
    "overlap": ("Same seconds in another split", "score the others apart: conical evaluate --subset leak-free"),
    "near-duplicate": ("Looks like a video of another split", "look at the pairs; conical evaluate --subset leak-free"),
    "same-caption": ("Caption that another split has too", "nothing: common sentences repeat"),
    "repeated-query": ("One sentence for several videos", "know it: a right answer may count as wrong"),
    "no-captions": ("Video without captions", "add captions, or leave it out"),
    "no-file": ("Video without a file", "get the files, import again; until then numbers say partial"),
    "no-frames": ("Video set aside by ingest", "mend or replace the file, then run ingest"),
    "long-caption": ("Caption longer than the text tower reads", "nothing: it is split, not cut off"),
}


def audit_table(counts: Sequence[KindCount], *, title: str, unchecked: Collection[str] = ()) -> Table:
    """A row per kind: what it is, how many, one example, what to do.

    Args:
        counts: of every kind that is to be shown.
        unchecked: kinds that were not looked for.

    Returns:
        A table that can be read at 80 columns and wider.
    """
    table = Table(title=Text(title), title_justify="left", show_lines=True)
    for heading, share in (("Looked for", 4), ("Found", 5), ("For example", 6), ("What to do", 5)):
        table.add_column(heading, ratio=share, overflow="fold")
    for count in counts:
        meaning, advice = _WORDS[count.kind]
        if count.kind in unchecked:
            table.add_row(meaning, Text("not checked", style="yellow"), "", "run ingest, then audit again")
        elif count.example is None:
            table.add_row(meaning, Text("none", style="green"), "", "")
        else:
            example = ": ".join(part for part in (count.example.video_a, count.example.detail) if part)
            table.add_row(meaning, Text(found_in_words(count), style="bold"), Text(example), advice)
    return table


def found_in_words(count: KindCount) -> str:
    """How much was found, a line per split.

    >>> splits = {"test": SplitFindings(num_findings=55, num_videos=52, total_value=0)}
    >>> found_in_words(KindCount(kind="overlap", splits=splits, example=None))
    '52 test videos in 55 pairs'
    """
    return "\n".join(_split_in_words(count.kind, split, findings) for split, findings in count.splits.items())


def _split_in_words(kind: str, split: str, findings: SplitFindings) -> str:
    if kind == "repeated-query":
        return f"{_number(findings.num_findings, 'sentence')} in {findings.total_value:,.0f} {split} queries"
    videos = _number(findings.num_videos, f"{split} video")
    if kind in ("overlap", "near-duplicate"):
        return f"{videos} in {_number(findings.num_findings, 'pair')}"
    if kind == "long-caption":
        return f"{_number(findings.num_findings, 'caption')} of {videos}"
    return videos


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"

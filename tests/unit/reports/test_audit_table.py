"""The table of an audit, as a newcomer meets it."""

from __future__ import annotations

import doctest

import pytest
from rich.console import Console

from conical.core.findings import FINDING_KINDS, Finding, KindCount, SplitFindings
from conical.reports.data_looks import audit_table as module
from conical.reports.data_looks.audit_table import audit_table, found_in_words


def count(kind: str, *, splits: dict[str, tuple[int, int, float]]) -> KindCount:
    found = {
        split: SplitFindings(num_findings=findings, num_videos=videos, total_value=value)
        for split, (findings, videos, value) in splits.items()
    }
    example = Finding(kind=kind, split_a="test", video_a="video7", detail="so and so") if found else None
    return KindCount(kind=kind, splits=found, example=example)


@pytest.mark.parametrize(
    ("kind", "splits", "words"),
    [
        ("shared-source", {"test": (400, 372, 0), "val": (1, 1, 0)}, "372 test videos\n1 val video"),
        ("overlap", {"test": (55, 52, 0)}, "52 test videos in 55 pairs"),
        ("near-duplicate", {"test": (1, 1, 0)}, "1 test video in 1 pair"),
        ("repeated-query", {"test": (4, 4, 9)}, "4 sentences in 9 test queries"),
        ("long-caption", {"train": (1200, 900, 0)}, "1,200 captions of 900 train videos"),
    ],
)
def test_what_was_found_in_words(kind: str, splits, words: str) -> None:
    assert found_in_words(count(kind, splits=splits)) == words


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_tells_every_kind(width: int) -> None:
    counts = [count(kind, splits={"test": (1234, 1000, 5000)}) for kind in FINDING_KINDS]
    text = printed(audit_table(counts, title="Audit of films"), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert text.count("video7: so and") == len(FINDING_KINDS)
    assert text.startswith("Audit of films")


def test_nothing_found_and_nothing_checked_differ() -> None:
    counts = [count("no-file", splits={}), count("near-duplicate", splits={})]
    lines = printed(audit_table(counts, title="", unchecked=["near-duplicate"]), 120).splitlines()
    assert any("Video without a file" in line and "none" in line for line in lines)
    assert any("Looks like a video" in line and "not checked" in line for line in lines)


def test_markup_in_a_caption_is_text() -> None:
    finding = Finding(kind="no-file", split_a="test", video_a="[bold]x[/]")
    counts = [
        KindCount(
            kind="no-file", splits={"test": SplitFindings(num_findings=1, num_videos=1, total_value=0)}, example=finding
        )
    ]
    assert "[bold]x[/]" in printed(audit_table(counts, title="[red]a"), 120)


def printed(table, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_examples_of_the_docstrings() -> None:
    outcome = doctest.testmod(module)
    assert (outcome.failed, outcome.attempted) == (0, 2)

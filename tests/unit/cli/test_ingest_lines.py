"""What a newcomer reads while and after videos are ingested."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

from rich.console import Console

from conical.cli.show_ingest import print_ingest
from conical.core.records import Failure
from conical.on_ray.ingest import IngestSummary

KINDS = {"a": "corrupt", "b": "missing", "c": "corrupt", "d": "corrupt"}
FAILURES = tuple(
    Failure(video_id=name, uri=f"{name}.mp4", stage="ingest", kind=kind, message=f"{name}.mp4: [{kind}] why")
    for name, kind in KINDS.items()
)
SUMMARY = IngestSummary(
    ok=5,
    failed=4,
    skipped=90,
    changed=("p", "q", "r", "s"),
    gone=("z",),
    padded=3,
    seconds=12.34,
    failures=FAILURES,
)


def _console() -> Console:
    return Console(file=io.StringIO(), soft_wrap=True)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_thing_worth_a_look_has_a_line() -> None:
    console = _console()
    print_ingest(console, SUMMARY, num_frames=10, folder=Path("frames"))
    assert _text(console).splitlines() == [
        "frames: 5 videos new, 90 were there, 4 failed, 12.3 s -> frames",
        "set aside: 4 clips (3 corrupt, 1 missing), listed in frames/failures.parquet",
        "  a (corrupt): a.mp4: [corrupt] why",
        "  b (missing): b.mp4: [missing] why",
        "  c (corrupt): c.mp4: [corrupt] why",
        "  and 1 more",
        "changed: 4 clips (p, q, r, ...): another file or window than the stored frames were read from; "
        "those frames were dropped",
        "gone: 1 clip (z): no file can be read any more; the stored frames are kept",
        "short: 3 clips have fewer than 10 frames; the last is repeated",
    ]


def test_three_clips_that_were_set_aside_are_all_there_are() -> None:
    console = _console()
    few = dataclasses.replace(SUMMARY, failures=FAILURES[:3], changed=("p", "q", "r"))
    print_ingest(console, few, num_frames=10, folder=Path("frames"))
    assert "more" not in _text(console).replace("any more", "")
    assert "changed: 3 clips (p, q, r): " in _text(console)


def test_a_summary_does_not_print_every_failure() -> None:
    assert "why" not in repr(SUMMARY)


def test_an_ingest_without_surprises_is_one_line() -> None:
    console = _console()
    calm = IngestSummary(ok=1, failed=0, skipped=0, changed=(), gone=(), padded=0, seconds=1, failures=())
    print_ingest(console, calm, num_frames=10, folder=Path("frames"))
    assert _text(console) == "frames: 1 videos new, 0 were there, 0 failed, 1.0 s -> frames\n"

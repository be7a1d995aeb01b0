"""What a newcomer reads while and after videos are ingested."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from conical.cli import progress_line
from conical.cli.progress_line import ProgressLine
from conical.cli.show_ingest import print_ingest
from conical.on_ray.ingest import IngestSummary
from conical.on_ray.progress import Progress

KINDS = {"corrupt": 2, "missing": 1}
SUMMARY = IngestSummary(ok=5, failed=3, skipped=90, changed=2, gone=1, padded=3, seconds=12.34, failures_by_kind=KINDS)


def _console() -> Console:
    return Console(file=io.StringIO(), soft_wrap=True)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_thing_worth_a_look_has_a_line() -> None:
    console = _console()
    print_ingest(console, SUMMARY, num_frames=10, folder=Path("frames"))
    assert _text(console).splitlines() == [
        "frames: 5 videos new, 90 were there, 3 failed, 12.3 s -> frames",
        "set aside: 3 clips (2 corrupt, 1 missing), see failures.parquet",
        "changed: 2 clips were not those of the stored frames; the old ones are gone",
        "gone: 1 clip cannot be read any more; the frames are kept",
        "short: 3 clips have fewer than 10 frames; the last is repeated",
    ]


def test_an_ingest_without_surprises_is_one_line() -> None:
    console = _console()
    calm = IngestSummary(ok=1, failed=0, skipped=0, changed=0, gone=0, padded=0, seconds=1, failures_by_kind={})
    print_ingest(console, calm, num_frames=10, folder=Path("frames"))
    assert _text(console) == "frames: 1 videos new, 0 were there, 0 failed, 1.0 s -> frames\n"


def test_rate_and_time_left_do_not_count_what_an_earlier_run_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: clock[0])
    console = _console()
    with ProgressLine(console) as line:
        for seconds, done in ((0.0, 900), (20.0, 920), (30.0, 930)):
            clock[0] = seconds
            line(Progress(stage="ingest", done=done, total=1000, unit="videos", note="2 failed"))
    first, last = _text(console).splitlines()
    assert first == "ingest          920 of 1000 videos in 20 s (1.0/s), 80 s left, 2 failed"
    assert last == "ingest          930 of 1000 videos in 30 s (1.0/s), 70 s left, 2 failed"

"""What `conical caption` says when it is done."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from conical.cli.show_caption import print_caption
from conical.core.records import FailedCaption
from conical.on_ray.caption import CaptionSummary


def printed(**changes: Any) -> list[str]:
    counts = {"ok": 3, "failed": 0, "skipped": 1, "skipped_failed": 0, "skipped_without_frames": 2, "truncated": 1}
    settings = {"failures": (), "asked": {"B": 4}, "seconds": 2.0, "captions_per_second": 1.5}
    out = io.StringIO()
    console = Console(file=out, width=300)
    print_caption(console, CaptionSummary(**counts | settings | changes), folder=Path("/w/captions"))
    return out.getvalue().splitlines()


def test_nothing_failed_is_one_line() -> None:
    assert printed() == [
        "supplements: 3 new, 1 were there, 0 failed, 2 of videos without frames, 1 met the token limit, 2.0 s -> "
        "/w/captions"
    ]


def test_reasons_are_counted_and_shown_as_they_are() -> None:
    failures = tuple(
        FailedCaption(key=str(n), video_id="v", prompt_id="B", sample=0, reason='refusal: "[red]no"') for n in (1, 2)
    )
    tried = printed(failed=2, failures=failures)[-1]
    assert tried == 'failed: 2 of 4: 2x refusal: "[red]no"; the next run tries them again'
    kept = printed(skipped_failed=2, failures=failures)[-1]
    assert kept.endswith("; not tried again (captions.retry_failed)")

"""What `conical caption` prints when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from conical.runs.supplements import failure_reasons

if TYPE_CHECKING:
    from conical.on_ray.caption import CaptionSummary


def print_caption(console: Console, summary: CaptionSummary, *, folder: Path) -> None:
    """The counts, and why texts are missing.

    Args:
        folder: of the ledger.
    """
    lines = [
        f"supplements: {summary.ok} new, {summary.skipped} were there, {summary.failed} failed, "
        f"{summary.skipped_without_frames} of videos without frames, {summary.truncated} met the token limit, "
        f"{summary.seconds:.1f} s -> {folder}"
    ]
    if summary.failures:
        total = sum(summary.asked.values())
        what = "not tried again (captions.retry_failed)" if summary.skipped_failed else "the next run tries them again"
        lines.append(f"failed: {len(summary.failures)} of {total}: {failure_reasons(summary.failures)}; {what}")
    for line in lines:
        console.print(line, highlight=False, markup=False)

"""What `conical ingest` prints when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from conical.on_ray.ingest import IngestSummary


def print_ingest(console: Console, summary: IngestSummary, *, num_frames: int, folder: Path) -> None:
    """The counts, then a line for each thing worth a look.

    Args:
        console: where to print.
        summary: what was done.
        num_frames: frames a clip that the recipe asks for.
        folder: of the frame store.
    """
    lines = [
        f"frames: {summary.ok} videos new, {summary.skipped} were there, {summary.failed} failed, "
        f"{summary.seconds:.1f} s -> {folder}"
    ]
    if summary.failures_by_kind:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.failures_by_kind.items())
        lines.append(f"set aside: {_clips(sum(summary.failures_by_kind.values()))} ({kinds}), see failures.parquet")
    if summary.changed:
        verb = "was" if summary.changed == 1 else "were"
        lines.append(f"changed: {_clips(summary.changed)} {verb} not those of the stored frames; the old ones are gone")
    if summary.gone:
        lines.append(f"gone: {_clips(summary.gone)} cannot be read any more; the frames are kept")
    if summary.padded:
        verb = "has" if summary.padded == 1 else "have"
        lines.append(f"short: {_clips(summary.padded)} {verb} fewer than {num_frames} frames; the last is repeated")
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"

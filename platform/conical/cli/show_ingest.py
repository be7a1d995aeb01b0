"""What `conical ingest` prints when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conical.core.records import Failure
    from conical.on_ray.ingest import IngestSummary

# enough to see what is wrong; the rest stands in the store
_NUM_NAMED = 3


def print_ingest(console: Console, summary: IngestSummary, *, num_frames: int, folder: Path) -> None:
    """The counts, then a line for each thing worth a look.

    Args:
        num_frames: frames a clip that the recipe asks for.
        folder: of the frame store.
    """
    lines = [
        f"frames: {summary.ok} videos new, {summary.skipped} were there, {summary.failed} failed, "
        f"{summary.seconds:.1f} s -> {folder}"
    ]
    if summary.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.failures_by_kind.items())
        lines.append(f"set aside: {_clips(len(summary.failures))} ({kinds}), listed in {folder / 'failures.parquet'}")
        lines += _reasons(summary.failures)
    if summary.changed:
        lines.append(
            f"changed: {_named(summary.changed)}: another file or window than the stored frames were read from; "
            "those frames were dropped"
        )
    if summary.gone:
        lines.append(f"gone: {_named(summary.gone)}: no file can be read any more; the stored frames are kept")
    if summary.padded:
        verb = "has" if summary.padded == 1 else "have"
        lines.append(f"short: {_clips(summary.padded)} {verb} fewer than {num_frames} frames; the last is repeated")
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _reasons(failures: Sequence[Failure]) -> list[str]:
    lines = [f"  {failure.video_id} ({failure.kind}): {failure.message}" for failure in failures[:_NUM_NAMED]]
    return [*lines, f"  and {len(failures) - _NUM_NAMED} more"] if len(failures) > _NUM_NAMED else lines


def _named(video_ids: Sequence[str]) -> str:
    """The number of clips and the first few ids."""
    more = ", ..." if len(video_ids) > _NUM_NAMED else ""
    return f"{_clips(len(video_ids))} ({', '.join(video_ids[:_NUM_NAMED])}{more})"


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"

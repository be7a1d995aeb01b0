"""What a stage tells while it runs; the command line draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a stage stands.

    Args:
        stage: for example `ingest`.
        done: units done, those of an earlier run included.
        total: units in all, > 0.
        unit: what is counted, for example `videos`.
        note: a few words on the latest result.
    """

    stage: str
    done: float
    total: float
    unit: str
    note: str = ""


Report = Callable[[Progress], None]


def no_report(_: Progress) -> None:
    """For callers that show nothing."""

"""One line of the doctor's."""

from __future__ import annotations

from dataclasses import dataclass

STATUSES = ("ok", "warn", "fail")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Args:
        status: `ok`, `warn` (runs, but read the advice) or `fail` (will not run).
        detail: what was found, one line.
        advice: what to do; "" when `ok`.
    """

    name: str
    status: str
    detail: str
    advice: str = ""

    def __post_init__(self) -> None:
        assert self.status in STATUSES, self.status
        assert bool(self.advice) == (self.status != "ok"), self

"""Where a stage of an experiment stands, as plain records for `conical status` and `--dry-run`."""

from __future__ import annotations

from dataclasses import dataclass

STATES = (
    "fresh",  # nothing to do
    "stale",  # there, but made from something that has changed since
    "partial",  # some of it is there
    "missing",  # not there
)


@dataclass(frozen=True, kw_only=True)
class StageState:
    """One line of a status.

    Args:
        stage: what, such as `frames` or `test/raw`.
        state: one of `STATES`.
        detail: what is there, or why it is stale or missing; one line.
    """

    stage: str
    state: str
    detail: str

    def __post_init__(self) -> None:
        assert self.state in STATES, self.state

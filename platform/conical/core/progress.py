"""What a stage tells while it runs; the command line draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Step:
    """A part of a chain begins.

    Args:
        number: 1-based.
        total: parts of the chain.
        title: what is done in it, for example `write supplements`.
    """

    number: int
    total: int
    title: str


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What is being done where nothing can be counted, such as a start that takes many seconds.

    Args:
        stage: as in `Progress`.
        doing: for example `starting workers`.
        subject: as in `Progress`.
    """

    stage: str
    doing: str
    subject: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a stage stands. The first one of a stage says what was there before it began: it took no time.

    Args:
        stage: for example `ingest`.
        done: units done, those of an earlier run included.
        total: units in all, > 0; may change where not all of them turn out to be needed.
        unit: what is counted, for example `videos`.
        subject: what is worked on where a stage runs several times, for example a method's name.
        note: a few words on the latest result.
        advice: where to look, told when the stage ends.
    """

    stage: str
    done: float
    total: float
    unit: str
    subject: str = ""
    note: str = ""
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a user should know and may act on, while a stage goes on.

    Args:
        stage: as in `Progress`.
        text: one line: what, how much, what to do.
        subject: as in `Progress`.
    """

    stage: str
    text: str
    subject: str = ""


Told: TypeAlias = Step | Activity | Progress | Notice
Report = Callable[[Told], None]


def no_report(_: Told) -> None:
    """For callers that show nothing."""

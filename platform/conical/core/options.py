"""The strict base of all options.

Options are frozen dataclasses that stand beside the code they configure. `conical.config` gathers them into one
experiment and turns what is wrong in a file into one line; the checks of single values stand in `__post_init__` here,
so that options built in code are refused for the same reasons.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base class; pydantic reads `__pydantic_config__` (a plain dict, so nothing is imported here)."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}


def require(condition: bool, message: str) -> None:
    """Refuse a value: `message` names it, what is allowed and, where not plain, what to do.

    Raises:
        ValueError: `condition` is false.
    """
    if not condition:
        raise ValueError(message)


def require_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuse `value` unless it is in `allowed`, with the nearest allowed one as a hint.

    >>> require_choice("denominator", "al", ("negatives", "all"))
    Traceback (most recent call last):
    ValueError: denominator must be one of negatives, all; got 'al'. Did you mean 'all'?
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.{did_you_mean(value, allowed)}")


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest allowed word, or an empty string."""
    near = difflib.get_close_matches(value, list(allowed), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""

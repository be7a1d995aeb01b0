"""The families by name; one from outside is named as `package.module:NAME`."""

from __future__ import annotations

from conical.core.registry import resolve_row
from conical.metrics.families.dsl import DSL
from conical.metrics.families.family import Family
from conical.metrics.families.qbnorm import QBNORM

FAMILIES: dict[str, Family] = {"dsl": DSL, "qbnorm": QBNORM}


def find_family(word: str, *, what: str = "family") -> Family:
    """The row called `word`, or the `Family` at `package.module:NAME`.

    Args:
        word: a key of `FAMILIES`, or an import path with a colon.
        what: what messages call the word.

    Raises:
        ValueError: there is none.
    """
    return resolve_row(what, word, FAMILIES, Family)

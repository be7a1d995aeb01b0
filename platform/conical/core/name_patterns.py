"""Names chosen by shell patterns, and what a pattern that fits none may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from conical.core.errors import ConfigError


def matching(names: Iterable[str], pattern: str, *, what: str) -> list[str]:
    """The names that a pattern of `fnmatch` fits, upper and lower case apart, in their order.

    Args:
        what: whose pattern it is, for the message (`lora.targets`).

    Raises:
        ConfigError: it fits none.
    """
    known = list(names)
    found = [name for name in known if fnmatchcase(name, pattern)]
    if not found:
        near = near_names(pattern, known)
        hint = f": near are {', '.join(near)}" if near else ", and none is near"
        raise ConfigError(f"{what} {pattern!r} matches none of {len(known)} parameters{hint}")
    return found


def near_names(pattern: str, names: Sequence[str], *, limit: int = 3) -> list[str]:
    """The names most like a pattern, nearest first; names that differ by their numbers only are told once, with `*`.

    >>> near_names("*.attn.qkv.weight", ["blocks.0.attn.qkv_weight", "blocks.1.attn.qkv_weight", "head.bias"])
    ['blocks.*.attn.qkv_weight']
    """
    words = pattern.strip("*.")
    # a pattern usually tells the end of a name: as many parts of it as the pattern has
    parts = words.count(".") + 1
    kinds = dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names)
    scores = {kind: max(_likeness(words, end) for end in (kind, _last(kind, parts))) for kind in kinds}
    best = sorted((kind for kind in kinds if scores[kind] >= 0.6), key=lambda kind: -scores[kind])
    return best[:limit]


def _last(name: str, parts: int) -> str:
    return ".".join(name.split(".")[-parts:])


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()

"""Plain settings as nested tables: merged, compared and flattened.

A table is a dataclass: it is merged key by key. Anything else, a dictionary such as `mix` or `tune.space` too, is one
value and is replaced whole.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from conical.core.errors import ConfigError


@functools.cache
def table_of(owner: type | None, key: str) -> type | None:
    """The dataclass behind a key of a table; None for a value or an unknown key."""
    hint = typing.get_type_hints(owner).get(key) if owner is not None else None
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def merge(changes: Mapping[str, Any], *, into: dict[str, Any], owner: type | None) -> None:
    """Set what `changes` names and leave the rest; unknown keys are kept for the check that follows.

    Args:
        changes: nested tables, in part.
        into: nested tables of `owner`; changed in place.
        owner: dataclass of the outermost table.
    """
    for key, value in changes.items():
        table, known = table_of(owner, key), into.get(key)
        if table is not None and isinstance(value, Mapping) and isinstance(known, dict):
            merge(value, into=known, owner=table)
        else:
            into[key] = value


def assign(key: str, value: Any, *, into: dict[str, Any], owner: type | None) -> None:
    """Set one dotted name, of a table (`loss.tau_tv`) or inside a dictionary (`mix.A`).

    Raises:
        ConfigError: a part before the last is no table.
    """
    *parents, last = key.split(".")
    for parent in parents:
        owner, into = table_of(owner, parent), into.setdefault(parent, {})
        if not isinstance(into, dict):
            raise ConfigError(f"{key!r} cannot be set: {parent!r} is a value, not a table")
    merge({last: value}, into=into, owner=owner)


def difference(data: Mapping[str, Any], base: Mapping[str, Any], *, owner: type) -> dict[str, Any]:
    """What must be merged into `base` to give `data`: nested tables without the keys that are equal in both.

    Args:
        data: complete tables of `owner`.
        base: likewise.
        owner: dataclass of the outermost table.
    """
    changed: dict[str, Any] = {}
    for key, value in data.items():
        table = table_of(owner, key)
        if table is None:
            changed |= {} if value == base[key] else {key: value}
        elif inner := difference(value, base[key], owner=table):
            changed[key] = inner
    return changed


def dotted_names(owner: type, prefix: str = "") -> list[str]:
    """All settings, tables included."""
    names = []
    for item in dataclasses.fields(owner):
        names.append(prefix + item.name)
        if table := table_of(owner, item.name):
            names += dotted_names(table, f"{prefix}{item.name}.")
    return names


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values; an empty dictionary is a value.

    >>> flatten({"seed": 1, "mix": {"human": 0.5, "A": 0.5}})
    {'seed': 1, 'mix.human': 0.5, 'mix.A': 0.5}
    """
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def without_none(data: Any) -> Any:
    """TOML has no null: what is None is left out, and its default is None."""
    if isinstance(data, dict):
        return {key: without_none(value) for key, value in data.items() if value is not None}
    return data

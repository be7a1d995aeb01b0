"""Names to things: a dict literal of the house, or `package.module:Name` from outside."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from conical.core.errors import ConfigError
from conical.core.hashing import file_fingerprint
from conical.core.options import did_you_mean, require_choice

Row = TypeVar("Row")


def resolve(what: str, name: str, table: Mapping[str, Any]) -> Any:
    """The entry called `name`, or the object at `package.module:Name`.

    Args:
        what: what is looked up, for the message (`captioner`, `model`).
        name: a key of `table`, or an import path with a colon.
        table: the house's own entries.

    Raises:
        ConfigError: no such entry, or the import path leads nowhere.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        raise ConfigError(
            f"unknown {what} {name!r}: choose one of {', '.join(table)}, or give package.module:Name."
            + did_you_mean(name, table)
        )
    module_name, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what} {name!r} cannot be imported: {error}") from error


def source_fingerprint(name: str) -> str:
    """Content address of the file of a thing from outside; "" for an entry of a table, or where there is no file.

    Args:
        name: as `resolve` takes it.
    """
    module_name, colon, _ = name.partition(":")
    module = importlib.import_module(module_name) if colon else None
    path = getattr(module, "__file__", None)
    return file_fingerprint(Path(path)) if path else ""


def resolve_row(what: str, name: str, table: Mapping[str, Row], kind: type[Row]) -> Row:
    """The row called `name`, or the `kind` at `package.module:NAME`, which has a `name` of its own.

    Args:
        what: what is looked up, for the message (`protocol`, `families`).
        name: a key of `table`, or an import path with a colon.
        table: the house's own rows.
        kind: what a row is.

    Raises:
        ValueError: no such row.
        ConfigError: the import path leads nowhere or to something else, or its row is called like one of the house's.
    """
    if ":" not in name:
        require_choice(what, name, table)
        return table[name]
    row = resolve(what, name, {})
    if not isinstance(row, kind):
        raise ConfigError(f"{what} {name!r} must be a {kind.__name__}, got a {type(row).__name__}")
    own = str(getattr(row, "name", ""))
    if own in table:
        raise ConfigError(f"{what} {name!r} is called {own!r} like one of {', '.join(table)}: give it another name")
    return row

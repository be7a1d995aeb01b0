"""The page of all settings, made from the options' own docstrings, so that it cannot fall behind them."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import tomli_w

from conical.config import Experiment
from conical.core.atomic import write_text_atomic

_HEAD = """# Settings

Every key of a config file, with its default (the offline demo). Any of them can be set on the command line with
`--set KEY=VALUE`, and named in `[tune.space]`. A file names what differs from the defaults; a table with one key leaves
its other keys as they are, while `mix`, `tune.space`, `dataset.reader` and the like are one value, replaced whole
(`--set mix.A=0.5` changes one share). Made by `make docs`; do not edit.
"""


def settings_page() -> str:
    """The page as Markdown: a section per table, a row per key."""
    sections = [_HEAD]
    for name, owner, default in _tables(Experiment, Experiment(), ""):
        sections.append(f"## {f'[{name}]' if name else 'Top level'}\n\n| key | default | meaning |\n|---|---|---|")
        told = _arguments(owner)
        for item in dataclasses.fields(owner):
            value = getattr(default, item.name)
            if not dataclasses.is_dataclass(value):
                key = f"{name}.{item.name}" if name else item.name
                sections[-1] += f"\n| `{key}` | `{_toml(value)}` | {told.get(item.name, '')} |"
        sections[-1] += "\n"
    return "\n".join(sections)


def write_settings_page(path: Path) -> None:
    """Write the page to a file."""
    write_text_atomic(path, settings_page())


def _tables(owner: type, default: object, prefix: str) -> Iterator[tuple[str, type, object]]:
    yield prefix, owner, default
    for item in dataclasses.fields(owner):
        hint = typing.get_type_hints(owner)[item.name]
        if dataclasses.is_dataclass(hint):
            path = f"{prefix}.{item.name}" if prefix else item.name
            yield from _tables(typing.cast(type, hint), getattr(default, item.name), path)


def _arguments(owner: type) -> dict[str, str]:
    """The `Args:` of a class's docstring, by name, each on one line."""
    body = inspect.getdoc(owner) or ""
    block = re.search(r"Args:\n(.*?)(?:\n\n|\Z)", body, flags=re.DOTALL)
    found: dict[str, str] = {}
    name = ""
    for line in block.group(1).splitlines() if block else ():
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            name = start.group(1)
            found[name] = start.group(2)
        elif name:
            found[name] += " " + line.strip()
    return {name: text.replace("|", "\\|") for name, text in found.items()}


def _toml(value: object) -> str:
    """A value as a TOML file spells it."""
    if value is None:
        return "(not set)"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()


def _key(key: str) -> str:
    return key if key.isidentifier() else f'"{key}"'

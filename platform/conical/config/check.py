"""From plain values to a checked dataclass, every fault in one line with its dotted path.

The only module that imports pydantic, and only to check: options are frozen dataclasses beside the code they configure.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import GetPydanticSchema, TypeAdapter, ValidationError
from pydantic_core import core_schema

from conical.captioning.mix import PromptMix
from conical.core.errors import ConfigError
from conical.core.options import did_you_mean

T = TypeVar("T")

# shares are checked one by one, so that a fault has the path of its share, then the mix as a whole
MIX_SCHEMA = GetPydanticSchema(
    lambda _, handler: core_schema.no_info_after_validator_function(PromptMix, handler(dict[str, float]))
)


def check(owner: type[T], data: Mapping[str, Any], *, origin: str) -> T:
    """Build a dataclass from plain values.

    Args:
        owner: dataclass of the outermost table.
        data: nested tables; what is left out takes the dataclass's own default.
        origin: where the values come from, for the message.

    Raises:
        ConfigError: a key, type or value is refused; names the dotted path, the value, what is allowed.
    """
    endless = [(path, value) for path, value in _numbers(data) if not math.isfinite(value)]
    if endless:
        lines = [f"{path} must be a finite number, got {value}" for path, value in endless]
        raise ConfigError(f"{origin}: " + "\n".join(lines))
    try:
        # through JSON: in that mode strict still takes an array for a tuple and 1 for 1.0, as TOML means them
        return TypeAdapter(owner).validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = [_describe(fault, owner) for fault in error.errors()]
        raise ConfigError(f"{origin}: " + "\n".join(lines)) from error


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every float of nested tables and lists, by its path."""
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, (Mapping, list, tuple)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _numbers(item, f"{path}.{key}" if path else str(key))


def _describe(fault: Mapping[str, Any], owner: type) -> str:
    """One line for one fault of pydantic's."""
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        parent, allowed = _keys_at(fault["loc"][:-1], owner)
        key = str(fault["loc"][-1])
        where = f" in [{parent}]" if parent else ""
        advice = _advice(key) or did_you_mean(key, allowed)
        return f"unknown key {path!r}: allowed{where} are {', '.join(allowed)}.{advice}"
    if fault["type"] == "value_error":
        return _with_path(str(fault["ctx"]["error"]), fault["loc"], owner)
    return f"{path} must be {fault['msg'].removeprefix('Input should be ')}, got {fault['input']!r}"


def _advice(key: str) -> str:
    """What to do in the place of a setting that there is not, and why not."""
    if "accum" in key.lower():
        return (
            " Gradients are not accumulated over batches, since each of its batches would have its own, fewer "
            "negatives: use optim.chunk_size, which gives the gradient of the whole batch in little memory"
        )
    return ""


def _with_path(message: str, location: Sequence[Any], owner: type) -> str:
    """A table's own message with the dotted path in front: `tau_tv must be ...` becomes `loss.tau_tv must be ...`."""
    path, names = _keys_at(location, owner)
    subject = message.split(maxsplit=1)[0].rstrip(":")
    if not path or (subject.split(".")[0] in path.split(".") and subject not in names):
        parents = path.rpartition(".")[0]
        return f"{parents}.{message}" if parents else message
    return f"{path}.{message}" if subject.split(".")[0] in names else f"{path}: {message}"


def _keys_at(location: Sequence[Any], owner: Any) -> tuple[str, list[str]]:
    """The path of a table or value, and the keys a table allows."""
    for part in location:
        owner = typing.get_type_hints(owner)[part]
    names = [item.name for item in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
    return ".".join(str(part) for part in location), names

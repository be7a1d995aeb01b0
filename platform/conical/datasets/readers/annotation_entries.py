"""Values out of annotation files: of the right type, or named with the place they stand at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets.split_names import split_named

Kind = TypeVar("Kind")
_LARGEST = 2**63
_DEEPEST = 64  # writers of JSON stop at some depth, which differs


def typed(value: Any, kind: type[Kind], where: str) -> Kind:
    """The value, if it is of that type.

    Args:
        kind: what it must be; `float` takes whole numbers too. Nothing takes truth values, numbers beyond 64 bits, or
            halves of characters, which no file can be written with.
        where: file and entry, for the message.

    Raises:
        DataError: it is of another type.
    """
    allowed: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or isinstance(value, bool) or not _is_storable(value):
        raise DataError(f"{where} must be {kind.__name__}, got {_short(value)}: take the published file")
    return value  # type: ignore[return-value]  # an int stands for a float


def entry(mapping: Mapping[str, Any], key: str, kind: type[Kind], where: str) -> Kind:
    """The value of a key, if it is of that type.

    Args:
        mapping: an object of a file.
        key: which of its fields.
        kind: as for `typed`.
        where: file and entry, for the message.

    Raises:
        DataError: the key is missing, or its value is of another type.
    """
    if key not in mapping:
        raise DataError(f"{where}: the field {key!r} is missing, it has {', '.join(mapping) or 'none'}")
    return typed(mapping[key], kind, f"{where}: {key}")


def to_record(where: str, **fields: Any) -> VideoRecord:
    """A record, checked; without `uri` its file is still to be found.

    Args:
        where: file and entry, for the message.
        fields: those of `VideoRecord`.

    Raises:
        DataError: a field is out of range, or cannot be stored.
    """
    for name, value in fields.items():
        require_storable(value, f"{where}: {name}")
    split = fields.get("split", "")
    named = split_named(split) if isinstance(split, str) else ""
    try:
        return VideoRecord(**{"uri": "", **fields, **({"split": named} if named else {})})
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def require_storable(value: Any, where: str) -> None:
    """Refuse what a manifest cannot be written with, however deep inside the value it is.

    Args:
        value: as JSON gives it.
        where: file, entry and field, for the message.

    Raises:
        DataError: it holds half of a character, a number that is none or beyond 64 bits, or lists within lists within
            lists and so on.
    """
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        parts = [*one, *one.values()] if isinstance(one, dict) else one if isinstance(one, (list, tuple)) else ()
        waiting.extend((part, depth + 1) for part in parts)
        if not _is_storable(one) or depth > _DEEPEST:
            raise DataError(
                f"{where} must hold whole characters, numbers below 2**63 and at most {_DEEPEST} lists in each other, "
                f"got {_short(one)}: mend it"
            )


def split_of_each(lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The split of each video id.

    Args:
        lists: split to its video ids.

    Raises:
        DataError: an id is in two splits.
    """
    splits: dict[str, str] = {}
    for split, ids in lists.items():
        for video_id in ids:
            if splits.setdefault(video_id, split) != split:
                raise DataError(f"video {video_id!r} is in the lists of {splits[video_id]} and {split}: mend the lists")
    return splits


def _is_storable(value: Any) -> bool:
    if isinstance(value, str) and not value.isascii():
        return not any("\ud800" <= character <= "\udfff" for character in value)
    # NaN is not below anything
    return not isinstance(value, (int, float)) or abs(value) < _LARGEST


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

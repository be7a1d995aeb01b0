"""Content addresses: the same meaning gives the same short hexadecimal string on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any


def _canonical(value: Any) -> Any:
    """Reduce to what JSON can hold; refuse what has no stable text form."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _canonical(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"cannot hash a {type(value).__name__}: use str, number, bool, None, list, dict or dataclass")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal text.

    >>> canonical_json({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def stable_hash(value: Any, *, length: int = 16) -> str:
    """First `length` hexadecimal digits of the SHA-256 of `canonical_json(value)`.

    >>> stable_hash({"a": 1}) == stable_hash({"a": 1})
    True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def file_fingerprint(path: str | Path, *, length: int = 16) -> str:
    """First `length` hexadecimal digits of the SHA-256 of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:length]

"""Files that are either whole or absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary neighbour of `path`; rename it to `path` if the block succeeds, else remove it.

    The temporary name starts with a dot and keeps the suffix, so readers that list `*.parquet` by a leading letter do
    not see it, and writers that look at the suffix work. It holds nothing else of the name, which may be as long as a
    file system allows.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        yield temporary
        # fsync before the rename: after a power cut the name must not point at an empty file
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

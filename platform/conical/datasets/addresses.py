"""Addresses of a manifest, kept inside the dataset's root."""

from __future__ import annotations

import os
from pathlib import Path

from conical.core.errors import DataError


def confined_path(root: str | Path, uri: str) -> Path:
    """The file that `uri` names, refused unless it lies under `root`.

    A manifest may come from anywhere, so it must not name files outside its dataset. Links that lie inside the root
    are followed: the user put them there.

    Args:
        root: folder of the dataset.
        uri: path relative to `root`, or absolute.

    Raises:
        DataError: it names a place outside `root`, or is not a local path.
    """
    if "://" in uri:
        raise DataError(f"uri must be a path under the dataset root {root}, got {uri!r}: copy the file there")
    base = os.path.abspath(root)  # noqa: PTH100 - pathlib's absolute() keeps `..`, resolve() follows links
    path = os.path.abspath(os.path.join(base, uri))  # noqa: PTH100, PTH118
    if os.path.commonpath((base, path)) != base or path == base or "\0" in uri:
        raise DataError(f"uri must stay under the dataset root {root}, got {uri!r}: move the file there")
    return Path(path)


def plain_uri(root: str | Path, uri: str) -> str:
    """The one spelling of an address: relative to the root, without `.` and `..`.

    Args:
        root: folder of the dataset.
        uri: as for `confined_path`.

    Raises:
        DataError: it names a place outside `root`, or is not a local path.
    """
    return confined_path(root, uri).relative_to(os.path.abspath(root)).as_posix()  # noqa: PTH100 - as above

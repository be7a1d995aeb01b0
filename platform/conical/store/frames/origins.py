"""From which address each video's frames were read, beside the frame store's parts.

A file of its own and not a column of the parts: data that moves then rewrites this file, not the frames. No
hash of the frames depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from conical.store.frames.store import FrameStore
from conical.store.parts import read_table, write_table

_NAME = "addresses.parquet"
_SCHEMA = pa.schema([("video_id", pa.string()), ("uri", pa.string())])


def read_addresses(store: FrameStore) -> dict[str, str]:
    """Address by video id, as `write_addresses` was given them; a video that is not among them is unknown.

    Raises:
        StoreError: the file is damaged.
    """
    path = store.path / _NAME
    if not path.is_file():
        return {}
    return {row["video_id"]: row["uri"] for row in read_table(path, columns=_SCHEMA.names).to_pylist()}


def write_addresses(store: FrameStore, addresses: Mapping[str, str]) -> None:
    """Replace all addresses.

    For the one process that drives a step. An address must be that of the frames a video has, or, of a video without
    frames, the one it is about to be read from: to write these first leaves no address of other frames behind,
    whenever the step is killed.

    Raises:
        StoreError: it cannot be written.
    """
    rows = [{"video_id": video_id, "uri": addresses[video_id]} for video_id in sorted(addresses)]
    write_table(store.path / _NAME, pa.Table.from_pylist(rows, schema=_SCHEMA))

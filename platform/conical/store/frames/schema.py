"""A row of the frame store: a video's frames and the facts beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conical.core.errors import StoreError
from conical.core.hashing import canonical_json
from conical.core.records import SampledFrames
from conical.store.frames.codec import decode_frame, encode_frame

SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("fingerprint", pa.string()),
        ("frames_hash", pa.string()),
        ("frame_indices", pa.list_(pa.int32())),
        ("pts_seconds", pa.list_(pa.float64())),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("decoder", pa.string()),
        ("is_padded", pa.bool_()),
        ("frames", pa.list_(pa.large_binary())),
    ]
)
# what tells one row from another, and what is known of a row without reading its frames
IDENTITY_COLUMNS = ("video_id", "fingerprint", "frames_hash")
INDEX_COLUMNS = (*IDENTITY_COLUMNS, "is_padded")
# what is read to see the frames
PIXEL_COLUMNS = ("height", "width", "frames")


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """What is stored of one video.

    Args:
        fingerprint: hash of the clip's bytes, and its window where it is a part of the file.
    """

    video_id: str
    fingerprint: str
    sampled: SampledFrames


def encode_row(row: FrameRow, recipe: Mapping[str, Any]) -> pa.Table:
    """The row as a table of one row, with a hash of all that is stored of its frames.

    Raw frames are not copied: the table reads the array's own memory.
    """
    sampled = row.sampled
    payloads = _payloads(sampled.frames, codec=recipe["codec"], jpeg_quality=recipe["jpeg_quality"])
    height, width = sampled.frames.shape[1:3]
    facts = {
        "frame_indices": list(sampled.frame_indices),
        "pts_seconds": list(sampled.pts_seconds),
        "height": height,
        "width": width,
        "decoder": sampled.decoder,
        "is_padded": sampled.is_padded,
    }
    digest = hashlib.sha256(canonical_json(facts).encode())
    digest.update(payloads.buffers()[2])
    identity = {"video_id": row.video_id, "fingerprint": row.fingerprint, "frames_hash": digest.hexdigest()[:32]}
    columns = [pa.array([value], SCHEMA.field(name).type) for name, value in {**identity, **facts}.items()]
    frames = pa.ListArray.from_arrays(pa.array([0, len(payloads)], pa.int32()), payloads)
    return pa.Table.from_arrays([*columns, frames], schema=SCHEMA)


def identity_of(table: pa.Table) -> list[list[str]]:
    """What tells the rows of a table from others."""
    return [[row[column] for column in IDENTITY_COLUMNS] for row in table.select(IDENTITY_COLUMNS).to_pylist()]


def _payloads(frames: NDArray[np.uint8], *, codec: str, jpeg_quality: int) -> pa.LargeBinaryArray:
    """The encoded frames, one after the other in one buffer."""
    if codec != "raw":
        return pa.array(
            [encode_frame(frame, codec=codec, jpeg_quality=jpeg_quality) for frame in frames], pa.large_binary()
        )
    pixels = np.ascontiguousarray(frames)
    starts = np.arange(len(pixels) + 1, dtype=np.int64) * pixels[0].nbytes
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(pixels), [None, pa.py_buffer(starts), pa.py_buffer(pixels)]
    )


def decode_row(row: Mapping[str, Any], recipe: Mapping[str, Any], part: Path) -> NDArray[np.uint8]:
    """The frames of a stored row, uint8 (frame, height, width, 3).

    Raises:
        StoreError: a payload is damaged; the message names `part`.
    """
    facts = {"codec": recipe["codec"], "height": row["height"], "width": row["width"], "part": part}
    return np.stack([decode_payload(payload, **facts) for payload in row["frames"]])


def decode_payload(payload: bytes | pa.Buffer, *, codec: str, height: int, width: int, part: Path) -> NDArray[np.uint8]:
    """One frame of a stored row, uint8 (height, width, 3); of a raw one it is the payload's own memory.

    Raises:
        StoreError: the payload is damaged; the message names `part`.
    """
    try:
        return decode_frame(payload, codec=codec, height=height, width=width)
    except ValueError as error:
        raise StoreError(f"{part} is damaged ({error}): delete this file and run ingest again") from error


def require_one_shape(first: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Refuse a clip that does not fit beside the others.

    Args:
        first: (frame, height, width, 3) of the first clip.
        other: of another clip.

    Raises:
        StoreError: they differ.
    """
    if other != first:
        raise StoreError(
            f"videos of one frame store must have one shape, got {first} and {other}: "
            "delete the store and run ingest again"
        )

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
from conical.store.frame_codec import decode_frame, encode_frame

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
INDEX_COLUMNS = ("video_id", "fingerprint", "frames_hash")


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """What is stored of one video.

    Args:
        video_id: which clip.
        fingerprint: hash of the file's bytes.
        sampled: its frames.
    """

    video_id: str
    fingerprint: str
    sampled: SampledFrames


def encode_row(row: FrameRow, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The row as plain values, its frames as bytes, with a hash of all that is stored of them."""
    sampled = row.sampled
    codec, quality = recipe["codec"], recipe["jpeg_quality"]
    payloads = [encode_frame(frame, codec=codec, jpeg_quality=quality) for frame in sampled.frames]
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
    for payload in payloads:
        digest.update(payload)
    identity = {"video_id": row.video_id, "fingerprint": row.fingerprint, "frames_hash": digest.hexdigest()[:32]}
    return {**identity, **facts, "frames": payloads}


def decode_row(row: Mapping[str, Any], recipe: Mapping[str, Any], part: Path) -> NDArray[np.uint8]:
    """The frames of a stored row, uint8 (frame, height, width, 3).

    Raises:
        StoreError: a payload is damaged; the message names `part`.
    """
    size = {"height": row["height"], "width": row["width"]}
    try:
        return np.stack([decode_frame(payload, codec=recipe["codec"], **size) for payload in row["frames"]])
    except ValueError as error:
        raise StoreError(f"{part} is damaged ({error}): delete this file and run ingest again") from error

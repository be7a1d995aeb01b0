"""What is known of stored frames without reading a pixel."""

from __future__ import annotations

from dataclasses import dataclass

from conical.store.frames.store import FrameStore
from conical.store.parts import list_parts, read_table

_COLUMNS = ("video_id", "pts_seconds", "decoder", "is_padded")


@dataclass(frozen=True, kw_only=True)
class FrameFacts:
    """Facts of one video's frames.

    Args:
        span_seconds: from the first sampled frame to the last.
        decoder: backend that read them.
        is_padded: fewer frames existed than were asked for.
    """

    span_seconds: float
    decoder: str
    is_padded: bool


def read_frame_facts(store: FrameStore) -> dict[str, FrameFacts]:
    """Facts by video id.

    Raises:
        StoreError: a part is damaged.
    """
    return {
        row["video_id"]: FrameFacts(
            span_seconds=row["pts_seconds"][-1] - row["pts_seconds"][0],
            decoder=row["decoder"],
            is_padded=row["is_padded"],
        )
        for part in list_parts(store.path, "part")
        for row in read_table(part, columns=_COLUMNS).to_pylist()
    }

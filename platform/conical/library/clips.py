"""Clips as the frame store knows them: which file, which window of it, which bytes."""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.records import Failure, VideoRecord
from conical.datasets import confined_path
from conical.video import media_fingerprint


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What decoding must know of a video."""

    video_id: str
    uri: str
    start_seconds: float
    end_seconds: float | None

    @classmethod
    def of(cls, record: VideoRecord) -> Clip:
        """The clip of a manifest's row."""
        return cls(
            video_id=record.video_id,
            uri=record.uri,
            start_seconds=record.start_seconds,
            end_seconds=record.end_seconds,
        )

    @property
    def window(self) -> str:
        """The part of the file that is the clip; "" for all of it."""
        if self.start_seconds == 0 and self.end_seconds is None:
            return ""
        return f"@{self.start_seconds}-{'' if self.end_seconds is None else self.end_seconds}"

    def fingerprint(self, root: str) -> str:
        """Of the file's bytes and the window; "" where nothing can be read, which the decoder then says in its words.

        Args:
            root: folder that the address is relative to.
        """
        try:
            return media_fingerprint(confined_path(root, self.uri)) + self.window if self.uri else ""
        except OSError:
            return ""

    def failure(self, kind: str, message: str) -> Failure:
        """The clip, set aside for a reason."""
        return Failure(video_id=self.video_id, uri=self.uri, stage="ingest", kind=kind, message=message)


def window_of(fingerprint: str) -> str:
    """The window that a stored fingerprint was made with."""
    _, mark, window = fingerprint.partition("@")
    return mark + window

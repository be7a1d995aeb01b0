"""Decoders that misbehave for files of certain names, and tell which process they work for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from conical.video import DecodedFrame, VideoInfo
from conical.video.backends.pyav import pyav_frames


def slow_frames(info: VideoInfo) -> Iterator[DecodedFrame]:
    """Take a while, and leave the pid of the actor whose child this is in `actor.pid` beside the videos."""
    (info.path.parent / "actor.pid").write_text(str(os.getppid()))
    time.sleep(0.15)
    yield from pyav_frames(info)


def deadly_frames(info: VideoInfo) -> Iterator[DecodedFrame]:
    """Hang on `hang.mp4`, die on `die.mp4`."""
    if info.path.stem == "hang":
        time.sleep(3600)
    if info.path.stem == "die":
        os.abort()
    yield from pyav_frames(info)

"""The frame-accuracy suite: every kind of clip by every reader, each frame compared with what was encoded."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conical.core.errors import DecodeError
from conical.core.options import require
from conical.core.records import SampledFrames
from conical.video.decode import sample_frames
from conical.video.recipe import FrameRecipe
from conical.workbench.frame_accuracy.clip_files import ClipKind
from conical.workbench.frame_accuracy.marks import read_name

_SIZE_PX = 64
_TIME_TOLERANCE_SECONDS = 0.002

# Reads `num_frames` frames, spread uniformly.
Reader = Callable[[Path, int], SampledFrames]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How a reader did on a kind of clip.

    Args:
        kind: file name of the kind.
        reader: name of the reader.
        num_exact: of these, the right picture, upright, in shape and colour, at its time.
        milliseconds: CPU time of all threads, the best of the repeats: wall time says more of other programs.
        pixels: hash of all frames; "" if refused.
        refusal: why nothing was read; "" if frames were.
    """

    kind: str
    reader: str
    num_frames: int
    num_exact: int
    milliseconds: float
    pixels: str
    refusal: str

    @property
    def status(self) -> str:
        """`exact`, `wrong` or `refused`."""
        if self.refusal:
            return "refused"
        return "exact" if self.num_exact == self.num_frames else "wrong"


def decoder_reader(decoder: str) -> Reader:
    """The reader that `sample_frames` is with `decoder`, a name or an import path (which no rule holds back)."""
    return lambda path, num_frames: sample_frames(
        path, FrameRecipe(num_frames=num_frames, size=_SIZE_PX, decoder=decoder)
    )


def measure(
    kind: ClipKind,
    path: Path,
    *,
    name: str,
    reader_name: str,
    reader: Reader,
    num_wanted: int | None = None,
    repeats: int = 1,
) -> Accuracy:
    """Read a written clip and compare.

    Args:
        kind: how it was written.
        num_wanted: frames asked for, spread uniformly; None: all that the file shows.
        repeats: how often it is read, for the time; >= 1.
    """
    require(repeats >= 1, f"repeats must be >= 1, got {repeats}")
    num_frames = len(kind.shown) if num_wanted is None else min(num_wanted, len(kind.shown))
    seconds = []
    try:
        for _ in range(repeats):
            start = time.process_time()
            sampled = reader(path, num_frames)
            seconds.append(time.process_time() - start)
    except DecodeError as error:
        return Accuracy(
            kind=name,
            reader=reader_name,
            num_frames=num_frames,
            num_exact=0,
            milliseconds=0.0,
            pixels="",
            refusal=str(error),
        )
    return Accuracy(
        kind=name,
        reader=reader_name,
        num_frames=num_frames,
        num_exact=count_exact(kind, sampled),
        milliseconds=1000 * min(seconds),
        pixels=hashlib.sha256(sampled.frames.tobytes()).hexdigest()[:16],
        refusal="",
    )


def count_exact(kind: ClipKind, sampled: SampledFrames) -> int:
    """Frames that are what their index says.

    Args:
        kind: how the clip was written.
        sampled: what a reader gave for it.
    """
    rows = zip(sampled.frames, sampled.frame_indices, sampled.pts_seconds, strict=True)
    return sum(
        index < len(kind.shown)
        and read_name(frame) == kind.shown[index]
        and abs(seconds - kind.seconds[index]) <= _TIME_TOLERANCE_SECONDS
        for frame, index, seconds in rows
    )

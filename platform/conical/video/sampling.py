"""Which frames to take: integer arithmetic, no decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence


def uniform(count: int, num: int) -> tuple[int, ...]:
    """`num` positions spread evenly over `count` frames, the first and the last included.

    Position k is `k (count - 1) / (num - 1)` rounded half up, in integers, so that no machine rounds otherwise. A
    single position is the middle frame.

    Args:
        count: available frames, >= 1.
        num: wanted positions, 1 <= num <= count.

    >>> uniform(10, 4)
    (0, 3, 6, 9)
    >>> uniform(4, 3)
    (0, 2, 3)
    """
    if num == 1:
        return ((count - 1) // 2,)
    steps = num - 1
    return tuple((2 * k * (count - 1) + steps) // (2 * steps) for k in range(num))


def segment_centre(count: int, num: int) -> tuple[int, ...]:
    """The centre frame of each of `num` equal segments: `floor((k + 1/2) count / num)`.

    Args:
        count: available frames, >= 1.
        num: wanted positions, 1 <= num <= count.

    >>> segment_centre(10, 2)
    (2, 7)
    """
    return tuple((2 * k + 1) * count // (2 * num) for k in range(num))


SAMPLERS: dict[str, Callable[[int, int], tuple[int, ...]]] = {"uniform": uniform, "segment_centre": segment_centre}


def sample_indices(span: range, *, num_frames: int, sampler: str) -> tuple[tuple[int, ...], bool]:
    """Indices of the sampled frames of a clip.

    Args:
        span: indices of the clip's frames in the file, in presentation order; not empty.
        num_frames: how many are wanted, >= 1.
        sampler: a key of `SAMPLERS`.

    Returns:
        `num_frames` indices, never decreasing, and whether the last one is repeated because the clip is too short.

    >>> sample_indices(range(5, 8), num_frames=4, sampler="uniform")
    ((5, 6, 7, 7), True)
    """
    count = len(span)
    if count < num_frames:
        return (*span, *(span[-1],) * (num_frames - count)), True
    return tuple(span[position] for position in SAMPLERS[sampler](count, num_frames)), False


def window_span(frame_seconds: Sequence[float], *, start_seconds: float, end_seconds: float | None) -> range:
    """Indices of the frames whose time lies in `[start_seconds, end_seconds)`.

    Args:
        frame_seconds: time of each frame, never decreasing.
        start_seconds: where the window starts, >= 0.
        end_seconds: where it ends; None: no end.

    >>> window_span([0.0, 0.5, 1.0, 1.5], start_seconds=0.5, end_seconds=1.5)
    range(1, 3)
    """
    first = bisect_left(frame_seconds, start_seconds)
    last = len(frame_seconds) if end_seconds is None else bisect_left(frame_seconds, end_seconds)
    return range(first, max(first, last))

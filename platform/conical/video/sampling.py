"""Which frames to take: arithmetic on indices and times, no decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# frame times are rounded to the microsecond
_TOLERANCE_SECONDS = 1e-6


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


def random_segment(rng: np.random.Generator, count: int, num: int) -> tuple[int, ...]:
    """A random frame of each of `num` segments; segment k is `floor(k count / num)` to `floor((k + 1) count / num)`.

    Args:
        rng: gives one number per segment.
        count: available frames, >= 1.
        num: wanted positions, 1 <= num <= count.

    >>> random_segment(np.random.default_rng(0), 3, 3)
    (0, 1, 2)
    """
    bounds = [k * count // num for k in range(num + 1)]
    return tuple(int(rng.integers(bounds[k], bounds[k + 1])) for k in range(num))


def at_rate(seconds: Sequence[float], *, sample_fps: float) -> tuple[int, ...]:
    """The frames that are on show at 0, 1, 2, ... times `1 / sample_fps` after the first; none is taken twice.

    Args:
        seconds: time of each available frame, never decreasing; not empty.
        sample_fps: wanted frames per second, > 0.

    >>> at_rate([0.0, 0.4, 0.8, 1.2, 1.6, 2.0], sample_fps=1.0)
    (0, 2, 5)
    """
    times = np.asarray(seconds) - seconds[0]
    num_moments = int((times[-1] + _TOLERANCE_SECONDS) * sample_fps) + 1
    moments = np.arange(num_moments) / sample_fps + _TOLERANCE_SECONDS
    return tuple(np.unique(np.searchsorted(times, moments, side="right") - 1).tolist())


@dataclass(frozen=True, kw_only=True)
class SamplingRequest:
    """What a sampler is told beside the frames' times.

    Args:
        num_frames: wanted frames, >= 1.
        sample_fps: wanted frames per second, > 0; read by `fps`.
        seed: of the random choice; read by `random_segment`.
    """

    num_frames: int
    sample_fps: float = 1.0
    seed: int = 0


Sampler = Callable[[Sequence[float], SamplingRequest], tuple[int, ...]]


def _fps(seconds: Sequence[float], request: SamplingRequest) -> tuple[int, ...]:
    """At the rate; of more than `num_frames` an even spread, the first and the last included."""
    positions = at_rate(seconds, sample_fps=request.sample_fps)
    if len(positions) <= request.num_frames:
        return positions
    return tuple(positions[position] for position in uniform(len(positions), request.num_frames))


# Each gives positions in a clip of at least `num_frames` frames, never decreasing; `fps` also in a shorter one.
SAMPLERS: dict[str, Sampler] = {
    "uniform": lambda seconds, request: uniform(len(seconds), request.num_frames),
    "segment_centre": lambda seconds, request: segment_centre(len(seconds), request.num_frames),
    "random_segment": lambda seconds, request: random_segment(
        np.random.default_rng(request.seed), len(seconds), request.num_frames
    ),
    "fps": _fps,
}


def sample_indices(
    seconds: Sequence[float], *, first: int = 0, sampler: str, request: SamplingRequest
) -> tuple[tuple[int, ...], bool]:
    """Indices of the sampled frames of a clip.

    Args:
        seconds: time of each of the clip's frames, never decreasing; not empty.
        first: index of the first of them in the file.
        sampler: a key of `SAMPLERS`.
        request: how many frames, and what the sampler needs.

    Returns:
        `request.num_frames` indices, never decreasing, and whether the last one is repeated because the clip (or, by
        `fps`, the number of its moments) is too small.

    >>> sample_indices([0.2, 0.3, 0.4], first=5, sampler="uniform", request=SamplingRequest(num_frames=4))
    ((5, 6, 7, 7), True)
    """
    num = request.num_frames
    is_whole = len(seconds) < num and sampler != "fps"
    positions = tuple(range(len(seconds))) if is_whole else SAMPLERS[sampler](seconds, request)
    num_missing = num - len(positions)
    padded = (*positions, *(positions[-1],) * num_missing)
    return tuple(first + position for position in padded), num_missing > 0


def window_span(frame_seconds: Sequence[float], *, start_seconds: float, end_seconds: float | None) -> range:
    """Indices of the frames whose time lies in `[start_seconds, end_seconds)`; between two frames that of the first.

    The first of two is what is on show then. A window that starts after the last frame has none: how long that is shown
    is not known.

    Args:
        frame_seconds: time of each frame, never decreasing.
        start_seconds: where the window starts, >= 0.
        end_seconds: where it ends; None: no end.

    >>> window_span([0.0, 0.5, 1.0, 1.5], start_seconds=0.5, end_seconds=1.5)
    range(1, 3)
    >>> window_span([0.0, 0.5, 1.0, 1.5], start_seconds=0.6, end_seconds=0.9)
    range(1, 2)
    """
    first = bisect_left(frame_seconds, start_seconds)
    last = len(frame_seconds) if end_seconds is None else bisect_left(frame_seconds, end_seconds)
    if first >= last and 0 < first < len(frame_seconds):
        return range(first - 1, first)
    return range(first, max(first, last))

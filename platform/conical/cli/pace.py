"""How fast a stage is: from what it did here and lately, not from what was there before or from its start-up."""

from __future__ import annotations

from collections import deque

_WINDOW_SECONDS = 60.0
# workers that start together finish together: what comes in one burst is one sample
_BURST_SECONDS = 1.0
_LEAST_SECONDS = 3.0
_LEAST_SAMPLES = 4


class Pace:
    """A moving estimate of units per second.

    Args:
        now: seconds of a monotonic clock.
        done: units that were there before the stage began.
    """

    def __init__(self, now: float, done: float) -> None:
        self._before = done
        self._samples: deque[tuple[float, float]] = deque()
        self._latest = (now, done)

    def add(self, now: float, done: float) -> None:
        """Note where the stage stands; what it was before the first unit was done is its start-up."""
        if done <= self._latest[1]:
            return
        self._latest = (now, done)
        if self._samples and now - self._samples[-1][0] < _BURST_SECONDS:
            self._samples[-1] = (self._samples[-1][0], done)
            return
        self._samples.append((now, done))
        while len(self._samples) > _LEAST_SAMPLES and now - self._samples[1][0] > _WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def done_here(self) -> float:
        """Units done since the stage began."""
        return self._latest[1] - self._before

    def per_second(self) -> float | None:
        """Units per second of late; None where too little was done to tell."""
        if len(self._samples) < 2:
            return None
        (first, done_first), (last, done_last) = self._samples[0], self._samples[-1]
        return (done_last - done_first) / (last - first) if last - first >= _LEAST_SECONDS else None

    def seconds_left(self, now: float, total: float) -> float | None:
        """Seconds to `total`; None where that cannot be told, or where they should have passed."""
        rate = self.per_second()
        if not rate:
            return None
        left = (total - self._latest[1]) / rate - (now - self._latest[0])
        return left if left > 0 else None

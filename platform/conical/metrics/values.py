"""A metric's value with all that is known of how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from conical.core.options import require


@dataclass(frozen=True)
class MetricValue:
    """A metric with its 95 % interval and its values under the extreme tie rules.

    Args:
        value: percent (0 to 100) for recalls, 1-based rank for MedR and MeanR.
        low: lower end of the interval, same unit; None when no interval was computed.
        high: upper end; None exactly when `low` is.
        tie_low: the lower of the values under the optimistic and the pessimistic tie rule; None when unknown.
        tie_high: the higher one; None exactly when `tie_low` is.

    Raises:
        ValueError: a number is not finite, or a pair of bounds is half given or upside down.
    """

    value: float
    low: float | None = None
    high: float | None = None
    tie_low: float | None = None
    tie_high: float | None = None

    def __post_init__(self) -> None:
        require(math.isfinite(self.value), f"a metric's value must be finite, got {self.value}")
        for names, low, high in (
            ("low and high", self.low, self.high),
            ("tie_low and tie_high", self.tie_low, self.tie_high),
        ):
            require((low is None) == (high is None), f"give {names} or neither, got {low} and {high}")
            if low is not None and high is not None:
                require(
                    low <= high and math.isfinite(high - low),
                    f"an interval needs finite low <= high, got [{low}, {high}]",
                )

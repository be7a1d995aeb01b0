"""Two systems on the same queries: the difference, its interval and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.options import require, require_choice

NO_DIFFERENCE = "no significant difference"
VERDICTS = ("a is better", "b is better", NO_DIFFERENCE)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """System a against system b on the same queries, made by `conical.metrics.compare`.

    Args:
        label_a: the system that is judged.
        label_b: the system it is judged against.
        metric: one of `METRICS`, or its full name (`test/raw/t2v/R1`) where the evaluation is known.
        difference: metric of a minus metric of b; recalls in percent points, the others in ranks.
        low: lower end of the paired interval of the difference.
        verdict: one of `VERDICTS`; `no significant difference` exactly when the interval holds zero.
        wins: queries on which a is better; for several seeds, by the mean over them.
        losses: queries on which b is better.
        draws: queries on which they are equal.
        seed_differences: the difference of each seed.

    Raises:
        ValueError: an unknown verdict, or one that contradicts the interval.
    """

    label_a: str = "a"
    label_b: str = "b"
    metric: str
    difference: float
    low: float
    high: float
    verdict: str
    wins: int
    losses: int
    draws: int
    seed_differences: tuple[float, ...]

    def __post_init__(self) -> None:
        require(self.low <= self.high, f"an interval needs low <= high, got [{self.low}, {self.high}]")
        require_choice("verdict", self.verdict, VERDICTS)
        require(
            (self.verdict == NO_DIFFERENCE) == (self.low <= 0 <= self.high),
            f"verdict must be {NO_DIFFERENCE!r} exactly when the interval holds zero; "
            f"got {self.verdict!r} for [{self.low:g}, {self.high:g}]",
        )

    @property
    def num_seeds(self) -> int:
        """Training seeds that each system stands for."""
        return len(self.seed_differences)

    @property
    def winner(self) -> str | None:
        """Label of the system that is better, None without a significant difference."""
        return {"a is better": self.label_a, "b is better": self.label_b}.get(self.verdict)

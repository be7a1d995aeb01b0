"""Which parts of a model train at which rate."""

from __future__ import annotations

from dataclasses import dataclass, field

from conical.core.options import Options, require


@dataclass(frozen=True, kw_only=True)
class RateOptions(Options):
    """Peak rates and weight decay of the parts of a model (`conical.engine.parameter_groups`).

    Args:
        learning_rate: of the towers, > 0.
        new_learning_rate: of fresh parts (head, projections, scales), >= 0; 0: as `learning_rate`.
        rates: pattern of `fnmatch` over parameter names to rate, > 0; the first that matches a parameter decides, in
            the place of the two above.
        layer_decay: in (0, 1]; each block of a tower trains at this share of the rate of the one above; 1: all alike.
        weight_decay: decoupled, >= 0, on matrices that are no embeddings.

    Raises:
        ValueError: a value is out of range.
    """

    learning_rate: float = 2e-4
    new_learning_rate: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)
    layer_decay: float = 1.0
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        require(0 < self.learning_rate < float("inf"), f"learning_rate must be > 0, got {self.learning_rate}")
        require(0 <= self.new_learning_rate < float("inf"), f"new_learning_rate must be >= 0: {self.new_learning_rate}")
        for pattern, rate in self.rates.items():
            require(
                0 < rate < float("inf"),
                f"rates {pattern!r} must be > 0, got {rate}: freeze parameters that are not to be trained",
            )
        require(0 < self.layer_decay <= 1, f"layer_decay must be in (0, 1], got {self.layer_decay}")
        require(0 <= self.weight_decay < float("inf"), f"weight_decay must be >= 0, got {self.weight_decay}")

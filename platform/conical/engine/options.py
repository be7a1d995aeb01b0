"""Options of the loop and of evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.options import Options, require, require_choice
from conical.core.records import SPLITS

# Only `raw` is scored today; the names of the others are fixed in `conical.metrics.names`.
PROTOCOLS_SCORED = ("raw",)


@dataclass(frozen=True, kw_only=True)
class OptimOptions(Options):
    """The `[optim]` table.

    Args:
        epochs: passes over the training rows, >= 0; 0 scores the model as it was loaded (zero-shot).
        batch_size: rows of the global batch, over all ranks, >= 2 (one row has no negative).
        rows_per_video: times each video is drawn in an epoch, each with a text of its own, >= 1. The number of human
            captions a video (20 for MSR-VTT) gives the epoch of the caption-wise loaders.
        learning_rate: peak rate of AdamW, > 0.
        weight_decay: decoupled, on matrices only, >= 0.
        warmup_fraction: share of all steps with a linear rise, in [0, 1); a cosine to zero follows.
        max_grad_norm: gradients are clipped to this norm, > 0.
        precision: `float32`, `bfloat16` (autocast) or `auto` (bfloat16 where a GPU has it).
    """

    epochs: int = 5
    batch_size: int = 50
    rows_per_video: int = 1
    learning_rate: float = 2e-4
    weight_decay: float = 0.05
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0
    precision: str = "auto"

    def __post_init__(self) -> None:
        require(self.epochs >= 0, f"epochs must be >= 0, got {self.epochs}")
        require(self.batch_size >= 2, f"batch_size must be >= 2 (one row has no negative), got {self.batch_size}")
        require(self.rows_per_video >= 1, f"rows_per_video must be >= 1, got {self.rows_per_video}")
        require(self.learning_rate > 0, f"learning_rate must be > 0, got {self.learning_rate}")
        require(self.weight_decay >= 0, f"weight_decay must be >= 0, got {self.weight_decay}")
        require(0 <= self.warmup_fraction < 1, f"warmup_fraction must be in [0, 1), got {self.warmup_fraction}")
        require(self.max_grad_norm > 0, f"max_grad_norm must be > 0, got {self.max_grad_norm}")
        require_choice("precision", self.precision, ("auto", "float32", "bfloat16"))


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Options):
    """The `[evaluate]` table.

    Args:
        protocol: what query and gallery are made of (`docs/method.md` 4); `raw` is built.
        splits: which splits `evaluate` scores; selection itself always uses `val`.
        num_resamples: resamples of the 95 % intervals, >= 100.
        batch_size: clips or texts embedded at once, >= 1.
    """

    protocol: str = "raw"
    splits: tuple[str, ...] = ("val", "test")
    num_resamples: int = 1000
    batch_size: int = 64

    def __post_init__(self) -> None:
        require_choice("protocol", self.protocol, PROTOCOLS_SCORED)
        require(bool(self.splits), "splits must name at least one of train, val, test; got none")
        for split in self.splits:
            require_choice("splits", split, SPLITS)
        require(self.num_resamples >= 100, f"num_resamples must be >= 100, got {self.num_resamples}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")

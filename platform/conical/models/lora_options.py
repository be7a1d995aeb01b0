"""What of low-rank adaptation can be configured."""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.options import Options, require


@dataclass(frozen=True, kw_only=True)
class LoraOptions(Options):
    """Low-rank adaptation of a frozen CLIP (`conical.models.low_rank`).

    Args:
        rank: of the change of each weight, >= 0; 0 trains the weights themselves. Hu et al. 2022 try 1 to 64.
        alpha: the change is scaled by alpha / rank, > 0. With alpha kept, the rate need not be tuned again for another
            rank (Hu et al. 2022, section 4.1).
        targets: patterns of `fnmatch` over the names of the CLIP's parameters (open_clip's, so for instance
            `visual.trunk.blocks.*.attn.qkv.weight` or `text.transformer.encoder.layer.*.attention.self.*.weight`); the
            default is the attention of open_clip's own towers.

    Raises:
        ValueError: a value is out of range, or there is a rank and no target.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = ("*.attn.in_proj_weight", "*.attn.out_proj.weight")

    def __post_init__(self) -> None:
        require(self.rank >= 0, f"rank must be >= 0, got {self.rank}")
        require(0 < self.alpha < float("inf"), f"alpha must be a finite number > 0, got {self.alpha}")
        require(
            self.rank == 0 or bool(self.targets),
            f"targets must name at least one pattern for rank {self.rank}: give one, or rank 0 to train all weights",
        )

"""What of a tower's projection can be configured."""

from __future__ import annotations

from dataclasses import dataclass

from conical.core.options import Options, require, require_choice

PROJECTIONS = ("none", "linear", "mlp")


@dataclass(frozen=True, kw_only=True)
class ProjectionOptions(Options):
    """A fresh map from a tower's embeddings into the space where they are compared.

    Args:
        kind: `none` (the embeddings as they are), `linear` (one matrix, no bias) or `mlp` (two layers with GELU
            between).
        width: of what comes out, >= 1; `none` keeps the width that it is given.
        hidden_width: between the two layers of `mlp`, >= 0; 0: as `width`.
        layer_norm: a LayerNorm with gain and bias on what comes in.
        dropout: share of the values that are set to zero in training, in [0, 1): of what `linear` is given, behind
            the LayerNorm, or of the hidden layer of `mlp`.

    Raises:
        ValueError: a value is out of range, or set for a kind that does not use it.
    """

    kind: str = "none"
    width: int = 512
    hidden_width: int = 0
    layer_norm: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, PROJECTIONS)
        require(self.width >= 1, f"width must be >= 1, got {self.width}")
        require(self.hidden_width >= 0, f"hidden_width must be >= 0, got {self.hidden_width}")
        require(0.0 <= self.dropout < 1.0, f"dropout must be in [0, 1), got {self.dropout}")
        require(
            self.kind == "mlp" or self.hidden_width == 0,
            f"hidden_width must be 0 for kind {self.kind!r}, which has no hidden layer; got {self.hidden_width}",
        )
        require(
            self.kind != "none" or (not self.layer_norm and self.dropout == 0.0),
            "layer_norm and dropout need kind 'linear' or 'mlp': kind 'none' changes nothing",
        )

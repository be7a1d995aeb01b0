"""What a loss is given: every pair of a global batch compared, and what was compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A global batch of B rows as the head compares it; row i of texts, videos and copies is the same clip.

    Args:
        similarity: term to (B, B) float32 scores in [-1, 1], rows are queries: `tv` text to video, `ta` text to the
            video's transformed copy, `va` video to copy. Those of the loss's terms.
        video_ids: (B,) integers; rows that share one are the same video and never each other's negatives.
        texts: what the head made of the texts, tensors of B rows by name.
        videos: what the head made of the videos, tensors of B rows by name.
        weakened: (B,) the score of each text without its weightiest words with its own video; None where no term asks.
        teacher: the same batch as another, fixed model compares it; None where the loss needs none.
    """

    similarity: Mapping[str, Float[Tensor, "batch batch"]]
    video_ids: Int[Tensor, " batch"]
    texts: Mapping[str, Tensor] = field(default_factory=dict)
    videos: Mapping[str, Tensor] = field(default_factory=dict)
    weakened: Float[Tensor, " batch"] | None = None
    teacher: Comparison | None = None

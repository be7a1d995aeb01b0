"""The random choices over a clip's frames: which are taken, and how `a_i`, the clip's copy, is transformed.

One transformation a clip, the same for all of its frames: the talk names rotation and flip and gives no ranges, so both
are options.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.core.options import Options, require
from conical.video.sampling import random_segment

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(Options):
    """The `[augment]` table.

    Args:
        rotation_degrees: angles are drawn uniformly from [-rotation_degrees, rotation_degrees], in [0, 180].
        flip_probability: chance of a horizontal flip, in [0, 1].
        num_frames: frames of a clip that a training step takes, one at random of each segment of the stored ones;
            evaluation takes the centres of the segments. 0: all that are stored (`frames.num_frames`).
    """

    rotation_degrees: float = 15.0
    flip_probability: float = 0.5
    num_frames: int = 0

    def __post_init__(self) -> None:
        require(
            0.0 <= self.rotation_degrees <= 180.0,
            f"rotation_degrees must be in [0, 180], got {self.rotation_degrees}",
        )
        require(0.0 <= self.flip_probability <= 1.0, f"flip_probability must be in [0, 1], got {self.flip_probability}")
        require(self.num_frames >= 0, f"num_frames must be >= 0, got {self.num_frames}")

    def draw(self, rng: np.random.Generator) -> tuple[float, bool]:
        """An angle in degrees and whether to flip."""
        return (
            float(rng.uniform(-self.rotation_degrees, self.rotation_degrees)),
            bool(rng.random() < self.flip_probability),
        )

    def draw_positions(self, rng: np.random.Generator, *, num_stored: int) -> tuple[int, ...]:
        """Which of a clip's stored frames a training step takes; draws nothing if it takes all.

        Args:
            rng: of the row.
            num_stored: stored frames, >= `num_frames`.
        """
        if self.num_frames == 0:
            return tuple(range(num_stored))
        return random_segment(rng, num_stored, self.num_frames)


def rotate_and_flip(
    frames: UInt8[Tensor, "clip frame height width 3"],
    *,
    degrees: Float[Tensor, " clip"],
    flip: Bool[Tensor, " clip"],
) -> UInt8[Tensor, "clip frame height width 3"]:
    """Rotate about the centre (counter-clockwise), then flip left and right; each clip by its own draw.

    Corners that come from outside the frame repeat the nearest edge pixel, so no black wedge tells the copy apart.

    Args:
        frames: square RGB frames.
        degrees: angle of each clip.
        flip: which clips to mirror.

    Returns:
        Frames of the same shape, rounded to whole levels.
    """
    num_clips, num_frames, height, width, _ = frames.shape
    assert height == width, (height, width)
    angle = degrees * (math.pi / 180.0)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    mirror = torch.where(flip, -1.0, 1.0)
    # affine_grid maps output to input coordinates (y points down): mirror x first, then turn
    theta = torch.stack([torch.stack([cos * mirror, -sin, zero], -1), torch.stack([sin * mirror, cos, zero], -1)], 1)
    grid = F.affine_grid(theta, [num_clips, 1, height, width], align_corners=False)
    # frames of a clip share its grid: as channels of one image they are sampled in one go
    pixels = frames.permute(0, 1, 4, 2, 3).reshape(num_clips, num_frames * 3, height, width).float()
    turned = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    turned = turned.round_().clamp_(0, 255).to(torch.uint8)
    return turned.view(num_clips, num_frames, 3, height, width).permute(0, 1, 3, 4, 2)

"""The transformed copy `a_i` of a clip: rotated and mirrored, on the device where its frames are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8


def rotate_and_flip(
    frames: UInt8[Tensor, "clip frame height width 3"],
    *,
    degrees: Float[Tensor, " clip"],
    flip: Bool[Tensor, " clip"],
) -> UInt8[Tensor, "clip frame height width 3"]:
    """Rotate about the centre (counter-clockwise), then flip left and right; each clip by its own draw.

    Corners that come from outside the frame repeat the nearest edge pixel, so no black wedge tells the copy apart.

    Args:
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

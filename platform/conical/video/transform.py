"""The transformed copy `a_i` of a clip: rotated and mirrored, on the device where its frames are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

# about as many numbers as the allocator keeps between calls; on the CPU new memory costs as much as sampling into it
_NUMBERS_AT_ONCE = 2**22


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
        Frames of the same shape, rounded to whole levels; the same ones for any number of threads. Between CPU and GPU
        a level of difference is possible where the mean of four pixels lies between two levels.
    """
    num_clips, num_frames, height, width, _ = frames.shape
    assert height == width, (height, width)
    at_once = max(1, num_clips)
    if frames.device.type == "cpu":
        # each thread takes whole clips
        threads = torch.get_num_threads()
        at_once = threads * math.ceil(_NUMBERS_AT_ONCE / frames[0].numel() / threads)
    grid = F.affine_grid(_output_to_input(degrees, flip), [num_clips, 1, height, width], align_corners=False)
    # in memory as frames are, channels last: a convolution takes the copies no slower than the originals
    turned = torch.empty_like(frames, memory_format=torch.contiguous_format)
    pixels = torch.empty(min(at_once, num_clips), num_frames, 3, height, width, device=frames.device)
    for part in zip(*(each.split(at_once) for each in (frames, grid, turned)), strict=True):
        _resample(*part, pixels=pixels)
    return turned


def _output_to_input(degrees: Tensor, flip: Tensor) -> Tensor:
    """(clip, 2, 3) maps from output to input coordinates (y points down), as `affine_grid` takes them."""
    angle = degrees * (math.pi / 180.0)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    # mirror x first, then turn
    mirror = torch.where(flip, -1.0, 1.0)
    return torch.stack([torch.stack([cos * mirror, -sin, zero], -1), torch.stack([sin * mirror, cos, zero], -1)], 1)


def _resample(frames: Tensor, grid: Tensor, out: Tensor, *, pixels: Tensor) -> None:
    """Fill `out` with frames sampled bilinearly; `pixels` is room for them in float32."""
    # frames of a clip share its grid: as channels of one image they are sampled in one go
    image = pixels[: len(out)].copy_(frames.permute(0, 1, 4, 2, 3))
    sampled = F.grid_sample(image.flatten(1, 2), grid, mode="bilinear", padding_mode="border", align_corners=False)
    # a weighted mean of levels rounds to a level
    out.copy_(sampled.round_().view(image.shape).permute(0, 1, 3, 4, 2))

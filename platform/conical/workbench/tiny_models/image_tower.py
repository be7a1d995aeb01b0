"""The image tower of the tiny Video-LLaVA, taught by the truth of rendered frames instead of by text.

A language-model loss alone would have to find colours, shapes and places through four layers of attention; asked
directly, a tower of a million parameters learns them in minutes. The heads are thrown away afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from conical.datasets.scenes.truth import COLOURS, SHAPES, SIZES, TEXTURES, SceneTruth
from conical.workbench.tiny_models.training_scenes import IMAGE_PX, RenderedScenes

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's CLIP; also Video-LLaVA's own
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
VISION_CONFIG: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": IMAGE_PX,
    "patch_size": 16,
    "projection_dim": 128,
}
_PER_OBJECT = len(SHAPES) + len(SIZES) + 2  # shape, size, x, y
_PATCHES_A_SIDE = IMAGE_PX // VISION_CONFIG["patch_size"]
_SHIFT_PX = 3


class FrameReader(nn.Module):
    """Linear heads on the class token (what there is of each colour; the texture) and on the patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.objects = nn.Linear(width, len(COLOURS) * (1 + _PER_OBJECT))
        self.texture = nn.Linear(width, len(TEXTURES))
        self.patch_norm = nn.LayerNorm(width)
        self.patch = nn.Linear(width, 1 + len(COLOURS) + _PER_OBJECT)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read (batch, tokens, width) as answers (batch, colours, .), (batch, textures) and (batch, patches, .)."""
        summary = self.norm(tokens[:, 0])
        objects = self.objects(summary).unflatten(1, (len(COLOURS), 1 + _PER_OBJECT))
        return objects, self.texture(summary), self.patch(self.patch_norm(tokens[:, 1:]))


def frame_targets(truths: Sequence[SceneTruth], times: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """What the heads should say of each frame.

    Args:
        times: (num_scenes, num_frames), 0 to 1.

    Returns:
        float32 (scenes, frames, colours, 5): presence, shape number, size number, x, y (centred, -0.5 to 0.5); and
        int64 (scenes,): texture number.
    """
    names = list(COLOURS)
    objects = np.zeros((*times.shape, len(names), 5), dtype=np.float32)
    for row, truth in enumerate(truths):
        for item in truth.objects:
            for column, time in enumerate(times[row]):
                if time >= item.enters:
                    x, y = item.centre(float(time))
                    objects[row, column, names.index(item.colour)] = (
                        1, SHAPES.index(item.shape), SIZES.index(item.size), x - 0.5, y - 0.5,
                    )  # fmt: skip
    return torch.from_numpy(objects), torch.tensor([TEXTURES.index(truth.background.texture) for truth in truths])


def normalise(frames: Tensor) -> Tensor:
    """uint8 (..., height, width, 3) to the float32 (..., 3, height, width) that CLIP's towers read."""
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    return ((frames.float() / 255 - mean) / std).movedim(-1, -3)


def reading_loss(
    objects: Tensor, texture: Tensor, patches: Tensor, *, target: Tensor, target_texture: Tensor
) -> Tensor:
    """Sum of the heads' losses; shape, size and place count only for objects that are there.

    Args:
        objects: (batch, colours, answers), from `FrameReader`.
        texture: (batch, textures).
        patches: (batch, patches, answers).
        target: (batch, colours, 5), from `frame_targets`.
        target_texture: (batch,).
    """
    row, colour = (target[..., 0] > 0).nonzero(as_tuple=True)
    wanted = target[row, colour]
    cell = ((wanted[:, 3:] + 0.5) * _PATCHES_A_SIDE).long().clamp(0, _PATCHES_A_SIDE - 1)
    patch = cell[:, 1] * _PATCHES_A_SIDE + cell[:, 0]
    patch_colour = torch.zeros(patches.shape[:2], dtype=torch.long)
    patch_colour[row, patch] = colour + 1
    num_classes = 1 + len(COLOURS)
    return (
        # most colours are absent from most frames, and most patches are empty
        len(COLOURS) * F.binary_cross_entropy_with_logits(objects[..., 0], target[..., 0])
        + 4 * F.cross_entropy(patches[..., :num_classes].flatten(0, 1), patch_colour.flatten())
        + _object_loss(objects[row, colour, 1:], wanted)
        + _object_loss(patches[row, patch, num_classes:], wanted)
        + 0.5 * F.cross_entropy(texture, target_texture)
    )


def _object_loss(said: Tensor, wanted: Tensor) -> Tensor:
    num_shapes, end = len(SHAPES), len(SHAPES) + len(SIZES)
    return (
        2 * F.cross_entropy(said[:, :num_shapes], wanted[:, 1].long())  # the hardest
        + F.cross_entropy(said[:, num_shapes:end], wanted[:, 2].long())
        + 10 * F.smooth_l1_loss(said[:, end:], wanted[:, 3:], beta=0.05)
    )


def frame_accuracies(tower: nn.Module, reader: FrameReader, scenes: RenderedScenes) -> dict[str, float]:
    """Share of right answers on unseen frames, in percent, and the mean error of place in frame widths."""
    target, target_texture = frame_targets(scenes.truths, scenes.times)
    objects, texture = [], []
    with torch.inference_mode():
        for frames in torch.from_numpy(scenes.frames).split(64):
            read = reader(_tokens(tower, normalise(frames.flatten(0, 1))))
            objects.append(read[0])
            texture.append(read[1])
    said = torch.cat(objects).view(*target.shape[:3], -1)
    is_there = target[..., 0] > 0
    there, wanted = said[is_there], target[is_there]
    shape_end, size_end = 1 + len(SHAPES), 1 + len(SHAPES) + len(SIZES)
    textures = torch.cat(texture).argmax(1).view(target.shape[:2])
    return {
        "presence": 100 * float(((said[..., 0] > 0) == is_there).float().mean()),
        "shape": 100 * float((there[:, 1:shape_end].argmax(1) == wanted[:, 1]).float().mean()),
        "size": 100 * float((there[:, shape_end:size_end].argmax(1) == wanted[:, 2]).float().mean()),
        "place": float((there[:, size_end:] - wanted[:, 3:]).abs().mean()),
        "texture": 100 * float((textures == target_texture[:, None]).float().mean()),
    }


def train_image_tower(
    scenes: RenderedScenes,
    *,
    steps: int,
    batch_frames: int = 128,
    peak_lr: float = 1e-3,
    seed: int = 0,
    report: Callable[[int, float, nn.Module, FrameReader], None] | None = None,
) -> tuple[nn.Module, FrameReader]:
    """Train a CLIP image tower to read frames.

    Args:
        steps: optimiser steps, >= 1.
        peak_lr: of AdamW, after a warm-up and before a cosine decay.
        seed: of the initial weights and the batches.
        report: called after each step as `report(step, loss, tower, reader)`.

    Returns:
        The tower (`transformers.CLIPVisionModel`) and its heads.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(seed)
    tower = CLIPVisionModel(CLIPVisionConfig(**VISION_CONFIG))
    reader = FrameReader(VISION_CONFIG["hidden_size"])
    parameters = [*tower.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=peak_lr, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps=steps))
    target, target_texture = frame_targets(scenes.truths, scenes.times)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        rows = torch.from_numpy(rng.integers(len(scenes.truths), size=batch_frames))
        columns = torch.from_numpy(rng.integers(scenes.times.shape[1], size=batch_frames))
        frames = torch.from_numpy(scenes.frames[rows.numpy(), columns.numpy()])
        frames, wanted = _shift(frames, target[rows, columns], rng)
        read = reader(_tokens(tower, normalise(frames)))
        loss = reading_loss(*read, target=wanted, target_texture=target_texture[rows])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if report:
            report(step + 1, loss.item(), tower, reader)
    return tower, reader


def warm_cosine(step: int, *, steps: int) -> float:
    """Share of the peak learning rate: a linear warm-up over 4 % of the steps, then half a cosine down to 2 %."""
    warm = max(1, round(0.04 * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _tokens(tower: nn.Module, pixels: Tensor) -> Tensor:
    """The layer that Video-LLaVA reads with `vision_feature_layer=-1`."""
    tokens: Tensor = tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
    return tokens


def _shift(frames: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mirror and move a whole batch a little, with the places in the targets: the crop may be off by a pixel."""
    target = target.clone()
    if rng.random() < 0.5:
        frames = frames.flip(2)
        target[..., 3] = -target[..., 3]
    dy, dx = (int(k) for k in rng.integers(-_SHIFT_PX, _SHIFT_PX + 1, size=2))
    padded = F.pad(frames.movedim(-1, 1).float(), (_SHIFT_PX,) * 4, mode="replicate").to(torch.uint8).movedim(1, -1)
    y, x = _SHIFT_PX + dy, _SHIFT_PX + dx
    target[..., 3] -= dx / IMAGE_PX
    target[..., 4] -= dy / IMAGE_PX
    return padded[:, y : y + IMAGE_PX, x : x + IMAGE_PX], target

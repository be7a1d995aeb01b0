"""The plain alternative to a training step: open_clip and PyTorch called directly, as one would in a notebook."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.engine.batches import Batch
from conical.models.dual_encoder import DualEncoder


class PlainStep:
    """A step of InfoNCE or CEO on the CLIP of an encoder; videos are told apart by their rows.

    Args:
        encoder: gives its CLIP, tokenizer and normalisation, and is not called.
        loss: `info_nce` or `ceo`.
        tau: scale of every term.
        learning_rate: of AdamW.
    """

    def __init__(self, encoder: DualEncoder, *, loss: str, tau: float = 20.0, learning_rate: float = 1e-6) -> None:
        self._clip, self._reader = encoder.clip, encoder.reader
        self._mean, self._std = encoder.mean, encoder.std
        self._has_copies, self._tau = loss == "ceo", tau
        trained = [parameter for parameter in self._clip.parameters() if parameter.requires_grad]
        self._trained = trained
        self._optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.05)

    def __call__(self, batch: Batch) -> Tensor:
        """One update; returns the loss before it."""
        self._optimiser.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimiser.step()
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The loss with its graph."""
        videos = self._videos(batch.frames)
        copies = self._videos(plain_copies(batch)) if self._has_copies else None
        texts = F.normalize(self._clip.encode_text(self._tokens(batch.texts)), dim=-1)
        if copies is None:
            logits = self._tau * texts @ videos.T
            targets = torch.arange(len(logits))
            return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
        return self._decoupled(texts, videos) + self._decoupled(texts, copies) + self._decoupled(videos, copies)

    def _videos(self, frames: Tensor) -> Tensor:
        pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        embedded = F.normalize(self._clip.encode_image((pixels - self._mean) / self._std), dim=-1)
        return F.normalize(embedded.view(*frames.shape[:2], -1).mean(1), dim=-1)

    def _tokens(self, texts: list[str]) -> Tensor:
        """The whole context for CLIP, which takes nothing else; the longest text for a Hugging Face tower."""
        inner: Any = getattr(self._reader.tokenizer, "tokenizer", None)
        if inner is None:
            return self._reader.tokens(texts)
        tokens: Tensor = inner(texts, padding="longest", return_tensors="pt")["input_ids"]
        return tokens

    def _decoupled(self, query: Tensor, gallery: Tensor) -> Tensor:
        """Without the positive in the denominator, from query to gallery."""
        logits = self._tau * query @ gallery.T
        own = torch.eye(len(logits), dtype=torch.bool)
        return (logits.masked_fill(own, -math.inf).logsumexp(1) - logits.diagonal()).mean()


def plain_copies(batch: Batch) -> Tensor:
    """Rotated, then mirrored clips: the whole batch sampled at once."""
    clips, frames, height, width, _ = batch.frames.shape
    angle = torch.deg2rad(batch.degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    sign = 1 - 2 * batch.flip.float()
    theta = torch.stack([cos * sign, -sin, zero, sin * sign, cos, zero], 1).view(clips, 2, 3)
    grid = F.affine_grid(theta, [clips, 1, height, width], align_corners=False)
    pixels = batch.frames.permute(0, 1, 4, 2, 3).flatten(1, 2).float()
    sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.round().to(torch.uint8).view(clips, frames, 3, height, width).permute(0, 1, 3, 4, 2)

"""The encoder together with its loss: what one training step differentiates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conical.distributed import gather, gather_with_grad
from conical.engine.batches import Batch
from conical.losses import LOSSES, LogitScale, LossOptions, ceo_loss, info_nce
from conical.models.dual_encoder import DualEncoder
from conical.video.transform import rotate_and_flip


class Objective(nn.Module):
    """A dual encoder and the three scales of the loss.

    `forward` returns this rank's loss over the *global* batch: embeddings of all ranks are gathered with gradient, so
    that N ranks give the loss and, after DDP's mean, the gradient of one process (`conical.distributed`).

    Args:
        encoder: the model that is trained.
        options: which loss and with which scales.
    """

    def __init__(self, encoder: DualEncoder, options: LossOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options
        learnt = [f"tau_{term}" for term in LOSSES[options.name]] if options.is_learnable else []
        self.scales = nn.ModuleDict({name: LogitScale(getattr(options, name)) for name in learnt})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name; `loss` is the one to differentiate."""
        needs_copies = "va" in LOSSES[self.options.name]
        augmented = rotate_and_flip(batch.frames, degrees=batch.degrees, flip=batch.flip) if needs_copies else None
        tokens = self.encoder.tokenize(batch.texts).to(batch.frames.device)
        text, video, copy = self.encoder(batch.frames, augmented, tokens)
        # embeddings come in float32; a lower precision around us must not reach the logits
        with torch.autocast(batch.frames.device.type, enabled=False):
            # side by side, so that one collective carries all; each has the width of the embedding
            parts = [text, video] if copy is None else [text, video, copy]
            gathered = gather_with_grad(torch.cat(parts, dim=1)).chunk(len(parts), dim=1)
            return self._terms(*gathered, video_ids=gather(batch.video))

    def tau(self, term: str) -> Tensor | float:
        """The scale of a term: as learnt so far, or as configured."""
        name = f"tau_{term}"
        return self.scales[name]() if name in self.scales else getattr(self.options, name)

    def _terms(
        self, text: Tensor, video: Tensor, copy: Tensor | None = None, *, video_ids: Tensor
    ) -> dict[str, Tensor]:
        options = self.options
        shared = {"denominator": options.denominator, "symmetric": options.symmetric, "video_ids": video_ids}
        if copy is None:
            return {"loss": info_nce(text, video, tau=self.tau("tv"), **shared)}
        terms = ceo_loss(
            text,
            video,
            copy,
            tau_tv=self.tau("tv"),
            tau_ta=self.tau("ta"),
            tau_va=self.tau("va"),
            weights=(options.w_tv, options.w_ta, options.w_va),
            **shared,
        )
        return {"loss": terms.total, "loss_tv": terms.tv, "loss_ta": terms.ta, "loss_va": terms.va}

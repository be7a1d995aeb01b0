"""The encoder together with its loss: what one training step differentiates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from conical.distributed import gather, gather_with_grad
from conical.engine.batches import Batch
from conical.losses import LogitScale, LossOptions
from conical.models.dual_encoder import DualEncoder
from conical.video.transform import rotate_and_flip


class Objective(nn.Module):
    """A dual encoder and a loss with its scales.

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
        card = options.card
        self.terms, self.needs_copies, self.loss = card.terms, card.needs_copies, card.function
        learnt = [f"tau_{term}" for term in self.terms] if options.is_learnable else []
        self.scales = nn.ModuleDict({name: LogitScale(getattr(options, name)) for name in learnt})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name; `loss` is the one to differentiate."""
        augmented = None
        if self.needs_copies:
            augmented = rotate_and_flip(batch.frames, degrees=batch.degrees, flip=batch.flip)
        tokens = self.encoder.tokenize(batch.texts).to(batch.frames.device)
        embeddings = [part for part in self.encoder(batch.frames, augmented, tokens) if part is not None]
        # embeddings come in float32; a lower precision around us must not reach the logits
        with torch.autocast(batch.frames.device.type, enabled=False):
            # side by side, so that one collective carries all; each has the width of the embedding
            gathered = gather_with_grad(torch.cat(embeddings, dim=1)).chunk(len(embeddings), dim=1)
            text, video, *copies = gathered
            return self.loss(
                text,
                video,
                copies[0] if copies else None,
                taus={term: self.tau(term) for term in self.terms},
                weights={term: getattr(self.options, f"w_{term}") for term in self.terms},
                denominator=self.options.denominator,
                symmetric=self.options.symmetric,
                video_ids=gather(batch.video),
            )

    def tau(self, term: str) -> Tensor | float:
        """The scale of a term: as learnt so far, or as configured."""
        name = f"tau_{term}"
        scale: Tensor | float = self.scales[name]() if name in self.scales else getattr(self.options, name)
        return scale

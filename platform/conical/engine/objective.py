"""The encoder together with its loss: what one training step differentiates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from conical.distributed import gather, gather_with_grad, max_over_ranks, world_size
from conical.engine.batches import Batch
from conical.losses import Comparison, LogitScale, LossOptions
from conical.models.dual_encoder import DualEncoder
from conical.models.heads.head import Features, Head, PoolingHead
from conical.video.transform import rotate_and_flip

# texts scored at once by a head whose scores are no product of two vectors; the rest is computed again in backward
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What a head compares, by name; tensors have one row per row of the batch.

    Args:
        copies: of the transformed copies; empty where the loss has none.
    """

    texts: Features
    videos: Features
    copies: Features


class Objective(nn.Module):
    """A dual encoder and a loss with its scales.

    `forward` returns this rank's loss over the *global* batch: what the head compares is gathered from all ranks with
    gradient, so that N ranks give the loss and, after DDP's mean, the gradient of one process (`conical.distributed`).

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

    def forward(
        self, batch: Batch, *, gradients: tuple[Mapping[str, Tensor], ...] | None = None
    ) -> dict[str, Tensor] | Tensor:
        """Loss terms by name; `loss` is the one to differentiate.

        Args:
            batch: this rank's rows.
            gradients: of the loss by the features of `batch`, where those are known (`conical.engine.gradient_cache`);
                then the scalar to differentiate in place of the loss.
        """
        embedded = self.embed(batch)
        if gradients is None:
            return self.compare(embedded, batch.video)
        # DDP waits for every parameter: those behind the comparison have their gradients already
        behind = [*self.encoder.head.parameters(), *self.scales.parameters()]
        nothing = sum((parameter.sum() * 0 for parameter in behind if parameter.requires_grad), torch.zeros(()))
        return pull(embedded, gradients) + nothing

    def embed(self, batch: Batch) -> Embedded:
        """This rank's rows, or a part of them: one row does not depend on another."""
        augmented = None
        if self.needs_copies:
            augmented = rotate_and_flip(batch.frames, degrees=batch.degrees, flip=batch.flip)
        tokens = self.encoder.tokenize(batch.texts).to(batch.frames.device)
        texts, videos, copies = self.encoder(batch.frames, augmented, tokens)
        return Embedded(texts=texts, videos=videos, copies=copies)

    def compare(self, own: Embedded, video_ids: Tensor) -> dict[str, Tensor]:
        """The loss over the rows of all ranks.

        Args:
            own: this rank's rows.
            video_ids: (rows,) integers, of the same rows.
        """
        # features come in float32; a lower precision around us must not reach the logits
        with torch.autocast(video_ids.device.type, enabled=False):
            texts, videos, copies = (gather_features(part) for part in (own.texts, own.videos, own.copies))
            head = self.encoder.head
            similarity = {
                term: (
                    head.vectors(videos) @ head.vectors(copies).T
                    if term == "va"
                    else score_pairs(head, texts, videos if term == "tv" else copies)
                )
                for term in self.terms
            }
            comparison = Comparison(similarity=similarity, video_ids=gather(video_ids), texts=texts, videos=videos)
            taus = {term: self.tau(term) for term in self.terms}
            return self.loss(comparison, taus=taus, bias=0.0, options=self.options)

    def tau(self, term: str) -> Tensor | float:
        """The scale of a term: as learnt so far, or as configured."""
        name = f"tau_{term}"
        scale: Tensor | float = self.scales[name]() if name in self.scales else getattr(self.options, name)
        return scale


def pull(embedded: Embedded, gradients: tuple[Mapping[str, Tensor], ...]) -> Tensor:
    """A scalar whose gradient is that of the loss: the features times their gradients.

    Args:
        embedded: features of some rows.
        gradients: of the loss by each of them; for texts, videos and copies. Word positions that only longer rows of the
            batch have are left out.
    """
    parts = (embedded.texts, embedded.videos, embedded.copies)
    products = [
        (features[name] * gradient[:, : features[name].shape[1]]).sum()
        for features, wanted in zip(parts, gradients, strict=True)
        for name, gradient in wanted.items()
    ]
    return torch.stack(products).sum()


def gather_features(own: Features) -> dict[str, Tensor]:
    """The rows of all ranks, with gradient where a tensor can have one.

    Word positions differ from rank to rank where texts are cut to what a batch needs: they are filled up with zeros,
    which a mask (`is_...`, `has_...`) says are nothing.
    """
    if world_size() == 1:
        return dict(own)
    gathered = {}
    for name in sorted(own):
        tensor = own[name]
        if tensor.ndim > 2 or not tensor.is_floating_point():
            longest = max_over_ranks(tensor.shape[1])
            tensor = F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, longest - tensor.shape[1]))
        gathered[name] = gather_with_grad(tensor) if tensor.is_floating_point() else gather(tensor)
    return gathered


def score_pairs(head: Head, texts: Features, clips: Features) -> Tensor:
    """(text, clip) scores of all pairs; what a head keeps per pair is held for a block of texts at a time."""
    count = len(next(iter(texts.values())))
    if isinstance(head, PoolingHead) or count <= _TEXTS_AT_ONCE:
        return head.similarity(texts, clips)

    def block(first: int) -> Mapping[str, Tensor]:
        return {name: tensor[first : first + _TEXTS_AT_ONCE] for name, tensor in texts.items()}

    parts = [
        checkpoint(head.similarity, block(first), clips, use_reentrant=False)
        for first in range(0, count, _TEXTS_AT_ONCE)
    ]
    return torch.cat(parts)

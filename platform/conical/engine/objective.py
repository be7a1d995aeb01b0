"""The encoder together with its loss: what one training step differentiates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from conical.core.errors import ConfigError
from conical.distributed import gather, gather_with_grad, max_over_ranks, world_size
from conical.engine.batches import Batch
from conical.losses import Comparison, LogitBias, LogitScale, LossOptions
from conical.models.dual_encoder import DualEncoder
from conical.models.heads.head import Features, Head, PoolingHead
from conical.video.transform import rotate_and_flip

# texts scored at once by a head whose scores are no product of two vectors; the rest is computed again in backward
_TEXTS_AT_ONCE = 64
# of cosines in the softmax that says which words are weighty
_WORD_SCALE = 20.0


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What heads compare, by name; tensors have one row per row of the batch.

    Args:
        copies: of the transformed copies; empty where the loss has none.
        teacher_texts: what the teacher's head makes of the texts; empty without a teacher.
        teacher_videos: the same of the videos.
    """

    texts: Features
    videos: Features
    copies: Features
    teacher_texts: Features = field(default_factory=dict)
    teacher_videos: Features = field(default_factory=dict)

    def parts(self) -> dict[str, Features]:
        """The five by name."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}


class Objective(nn.Module):
    """A dual encoder and a loss with its scales.

    `forward` returns this rank's loss over the *global* batch: what the head compares is gathered from all ranks with
    gradient, so that N ranks give the loss and, after DDP's mean, the gradient of one process (`conical.distributed`).

    Args:
        encoder: the model that is trained.
        options: which loss and with which scales.
        teacher: the model that distillation learns from; it stays as it is.

    Raises:
        ConfigError: a term needs a teacher, or a head that reads words.
    """

    def __init__(self, encoder: DualEncoder, options: LossOptions, *, teacher: DualEncoder | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options
        card, extras = options.card, options.extra_cards
        self.terms, self.needs_copies, self.loss = card.terms, card.needs_copies, card.function
        self.extras = {extra.name: extra.function for extra in extras}
        self.needs_weakened = any(extra.needs_weakened for extra in extras)
        if self.needs_weakened and not encoder.head.needs_words:
            raise ConfigError(
                f"loss.extra.partial_order needs a head that reads words, got {encoder.head_name!r}: choose token_wise "
                "or multi_grained"
            )
        if any(extra.needs_teacher for extra in extras) != (teacher is not None):
            raise ConfigError("a distillation needs the model of loss.teacher, and it alone needs one")
        # held in a list: it is no part of what is trained, saved or moved to training mode
        self._teacher = [] if teacher is None else [teacher.eval().requires_grad_(False)]
        learnt = [f"tau_{term}" for term in self.terms] if options.is_learnable else []
        self.scales = nn.ModuleDict({name: LogitScale(getattr(options, name)) for name in learnt})
        if options.is_learnable and card.has_bias:
            self.scales["bias"] = LogitBias(options.bias)

    def forward(
        self, batch: Batch, *, gradients: Mapping[str, Mapping[str, Tensor]] | None = None
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
        augmented = batch.copies
        if self.needs_copies and augmented is None:
            augmented = rotate_and_flip(batch.frames, degrees=batch.degrees, flip=batch.flip)
        texts, videos, copies = self.encoder(batch.frames, augmented, batch.texts, batch.supplements)
        taught: dict[str, Features] = {}
        for teacher in self._teacher:
            with torch.no_grad():
                teacher.to(batch.frames.device)
                of_texts, of_videos, _ = teacher(batch.frames, None, batch.texts, batch.supplements)
            taught = {"teacher_texts": of_texts, "teacher_videos": of_videos}
        return Embedded(texts=texts, videos=videos, copies=copies, **taught)

    def compare(self, own: Embedded, video_ids: Tensor) -> dict[str, Tensor]:
        """The loss over the rows of all ranks.

        Args:
            own: this rank's rows.
            video_ids: (rows,) integers, of the same rows.
        """
        # features come in float32; a lower precision around us must not reach the logits
        with torch.autocast(video_ids.device.type, enabled=False):
            rows = Embedded(**{name: gather_features(part) for name, part in own.parts().items()})
            comparison = self._compare(rows, gather(video_ids))
            taus = {term: self.tau(term) for term in self.terms}
            terms = self.loss(comparison, taus=taus, bias=self.bias, options=self.options)
            added = {f"loss_{name}": function(comparison) for name, function in self.extras.items()}
            total = terms["loss"]
            for name, weight in self.options.extra.items():
                total = total + weight * added[f"loss_{name}"]
            return {**terms, **added, "loss": total}

    def _compare(self, rows: Embedded, video_ids: Tensor) -> Comparison:
        head = self.encoder.head
        pairs = {"tv": rows.videos, "ta": rows.copies}
        similarity = {
            term: head.vectors(rows.videos) @ head.vectors(rows.copies).T
            if term == "va"
            else score_pairs(head, rows.texts, pairs[term])
            for term in self.terms
        }
        weakened = None
        if self.needs_weakened:
            weakened = score_pairs(head, without_weighty_words(head, rows), rows.videos).diagonal()
        return Comparison(
            similarity=similarity,
            video_ids=video_ids,
            texts=rows.texts,
            videos=rows.videos,
            weakened=weakened,
            teacher=self._taught(rows, video_ids),
        )

    @torch.no_grad()
    def _taught(self, rows: Embedded, video_ids: Tensor) -> Comparison | None:
        for teacher in self._teacher:
            scores = score_pairs(teacher.head, rows.teacher_texts, rows.teacher_videos)
            return Comparison(
                similarity={"tv": scores}, video_ids=video_ids, texts=rows.teacher_texts, videos=rows.teacher_videos
            )
        return None

    @property
    def bias(self) -> Tensor | float:
        """What is added to scaled scores: as learnt so far, or as configured."""
        bias: Tensor | float = self.scales["bias"]() if "bias" in self.scales else self.options.bias
        return bias

    def tau(self, term: str) -> Tensor | float:
        """The scale of a term: as learnt so far, or as configured."""
        name = f"tau_{term}"
        scale: Tensor | float = self.scales[name]() if name in self.scales else getattr(self.options, name)
        return scale


def pull(embedded: Embedded, gradients: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
    """A scalar whose gradient is that of the loss: the features times their gradients.

    Args:
        embedded: features of some rows.
        gradients: of the loss by each of them, by part and name. Word positions that only longer rows of the batch have
            are left out.
    """
    parts = embedded.parts()
    products = [
        (parts[part][name] * gradient[:, : parts[part][name].shape[1]]).sum()
        for part, wanted in gradients.items()
        for name, gradient in wanted.items()
    ]
    return torch.stack(products).sum()


def without_weighty_words(head: Head, rows: Embedded, *, share: float = 0.6) -> dict[str, Tensor]:
    """The texts without the words that hold the first part of the weight, at least one left.

    With c_l the cosine of word l with the text's own video, its weight is softmax_l(20 c_l): the words that speak of
    what is seen go first.

    Args:
        head: gives the videos' vectors.
        rows: texts with `words` and `is_word`.
        share: of the weight that is taken out.

    Source: Jiang et al. 2023 (DMAE), whose code takes out 60 % of an importance that a small network learns.
    """
    words, is_word = rows.texts["words"], rows.texts["is_word"]
    with torch.no_grad():
        cosines = (F.normalize(words, dim=-1) * head.vectors(rows.videos)[:, None]).sum(dim=2)
        weights = (_WORD_SCALE * cosines).masked_fill(~is_word, -math.inf).softmax(dim=1)
        order = weights.argsort(dim=1, descending=True)
        before = weights.gather(1, order).cumsum(dim=1) - weights.gather(1, order)
        goes = torch.zeros_like(is_word).scatter(1, order, before < share)
        kept = is_word & ~goes
        # of a text whose every word is weighty the lightest one stays
        last = torch.zeros_like(is_word).scatter(
            1, weights.masked_fill(~is_word, math.inf).argmin(dim=1)[:, None], True
        )
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, last)
    return {**rows.texts, "is_word": kept}


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

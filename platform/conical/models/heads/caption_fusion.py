"""A clip scored by its frames and by the captions that were written for it: Cap4Video's two branches.

Shapes: T texts, V clips, F frames per clip, K captions per clip, D width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.losses.contrastive import cosine_similarity
from conical.models.heads.head import Clips, Features, Head, Texts

if TYPE_CHECKING:
    from jaxtyping import Float

SELECTIONS = ("max", "softmax")
# stands where a clip has no caption: no cosine is below it
_NO_CAPTION = -2.0


class CaptionFusion(Head):
    """Query-video score and query-caption score, mixed by a learnt weight.

    With t a text, v the mean of a clip's frames and c_1 .. c_K its captions, all of unit length:

        s_video = t . v
        s_caption = max_k t . c_k,  or  sum_k a_k t . c_k with a = softmax_k(scale t . c_k)
        s = (1 - w) s_video + w s_caption,  w = sigmoid(u)

    So each query picks the caption that speaks of what it asks for. A clip without captions scores s_video, and so do
    all where captions may not be used. u is one number for all pairs, learnt with the rest.

    What of the paper is not here: its captions also change the frames, through co-attention, and its branches are
    trained one after the other and mixed at the end.

    Args:
        width: of the embeddings; nothing here depends on it.
        init_weight: w at the start, between 0 and 1.
        selection: one of `SELECTIONS`.
        scale: of the cosines in the softmax, > 0; read under `softmax` only.

    Raises:
        ConfigError: a setting is out of range.

    Source: Wu et al. 2023, "Cap4Video: What Can Auxiliary Captions Do for Text-Video Retrieval?". Its code mixes with
    w = 0.27 and, as one of its ways of pooling, sums the captions nearest to each query: `max` is that with one.
    """

    needs_captions = True

    def __init__(self, width: int, *, init_weight: float = 0.27, selection: str = "max", scale: float = 20.0) -> None:
        super().__init__()
        del width
        if not 0 < init_weight < 1:
            raise ConfigError(f"init_weight must be above 0 and below 1, got {init_weight}")
        if selection not in SELECTIONS:
            raise ConfigError(f"selection must be one of {', '.join(SELECTIONS)}; got {selection!r}")
        if not 0 < scale < math.inf:
            raise ConfigError(f"scale must be a finite number > 0, got {scale}")
        self.selection, self.scale = selection, scale
        self.weight_logit = nn.Parameter(torch.tensor(math.log(init_weight / (1 - init_weight))))

    @property
    def caption_weight(self) -> Float[Tensor, ""]:
        """w, between 0 and 1."""
        return self.weight_logit.sigmoid()

    def encode_texts(self, texts: Texts) -> Features:
        """`text`: (T, D), unit length."""
        return {"text": F.normalize(texts.sentence, dim=-1)}

    def encode_clips(self, clips: Clips) -> Features:
        """`clip` (V, D), unit length.

        Where captions are given also `captions` (V, K, D), of unit length or 0, and `has_caption` (V, K).
        """
        clip = F.normalize(F.normalize(clips.frames, dim=-1).mean(dim=1), dim=-1)
        if clips.captions is None:
            return {"clip": clip}
        assert clips.has_caption is not None
        captions = clips.captions.masked_fill(~clips.has_caption[..., None], 0.0)
        return {"clip": clip, "captions": F.normalize(captions, dim=-1), "has_caption": clips.has_caption}

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Scores of every pair; holds T x V x K cosines."""
        video = cosine_similarity(texts["text"], clips["clip"])
        if "captions" not in clips:
            # the weight gets a gradient, of 0: training on several ranks waits for one from each parameter
            return video + 0.0 * self.caption_weight
        fused = video + self.caption_weight * (self.caption_similarity(texts, clips) - video)
        return fused.where(clips["has_caption"].any(dim=1), video)

    def caption_similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """s_caption of every pair."""
        captions = clips["captions"]
        cosines = cosine_similarity(texts["text"], captions.flatten(0, 1)).unflatten(1, captions.shape[:2])
        return self._select(cosines, clips["has_caption"])

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """The mean of the frames."""
        return clips["clip"]

    def _select(self, cosines: Tensor, has_caption: Tensor) -> Tensor:
        """(T, V, K) to (T, V); what a clip without captions gets means nothing."""
        if self.selection == "max":
            return cosines.masked_fill(~has_caption, _NO_CAPTION).amax(dim=2)
        lowest = torch.finfo(cosines.dtype).min  # finite: a softmax over nothing would be NaN, and so its gradient
        weights = (self.scale * cosines).masked_fill(~has_caption, lowest).softmax(dim=2)
        return (weights * cosines).sum(dim=2)

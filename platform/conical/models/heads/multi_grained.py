"""Whole and parts on both sides, four similarities averaged: X-CLIP.

Shapes: T texts, V clips, L word positions, F frames per clip, D width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models.heads.frame_transformer import FrameTransformer
from conical.models.heads.head import Clips, Features, Head, Texts

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class MultiGrained(Head):
    """Mean of video-sentence, video-word, sentence-frame and frame-word similarity.

    With t a text's sentence and w_i its words, v a clip's pooled vector and f_j its frames, all of unit length, and A
    the attention over similarities of `attend` at the temperature tau:

        s_vs = v . t
        s_vw = A_i (v . w_i)
        s_sf = A_j (t . f_j)
        s_fw = ( A_j A_i (f_j . w_i) + A_i A_j (f_j . w_i) ) / 2
        s = (s_vs + s_vw + s_sf + s_fw) / 4

    v is the normalised mean of the frames behind `FrameTransformer`, each of unit length; f_j are the frames before it
    (the published code's choice; the paper's text is not clear about it).

    Differences from the published code. It multiplies the attention by learned matrices over words (L x L) and frames
    (F x F), and t and w_i by learned D x D matrices, all of which start as the identity; here they stay the identity:
    the former need the same number of words and frames in each row, with the latter a score leaves [-1, 1]. Its A_i
    runs over the positions behind a text too; here over words only. The start of the transformer differs.

    Args:
        width: of the embeddings.
        temperature: tau > 0; the smaller it is, the nearer the attention is to a maximum.
        num_layers: of the transformer over frames (the paper says 3, its code takes 4); 0 leaves it out, and the next
            three settings are not read.
        max_frames: most frames a clip may have; a clip with more is refused.
        num_heads: of the attention over frames, a divisor of `width`; 0 takes width // 64, at least 1.
        start: `identity` or `clip`, see `FrameTransformer`.

    Raises:
        ConfigError: a setting is out of range.

    Source: Ma et al. 2022, "X-CLIP: End-to-End Multi-grained Contrastive Learning for Video-Text Retrieval", attention
    over similarity matrix (AOSM); temperature 0.01 as in its code.
    """

    needs_words = True

    def __init__(
        self,
        width: int,
        *,
        temperature: float = 0.01,
        num_layers: int = 4,
        max_frames: int = 64,
        num_heads: int = 0,
        start: str = "identity",
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ConfigError(f"temperature must be a finite number > 0, got {temperature}")
        self.temperature = temperature
        self.temporal: nn.Module = nn.Identity()
        if num_layers:
            self.temporal = FrameTransformer(
                width, num_layers=num_layers, max_frames=max_frames, num_heads=num_heads, start=start
            )

    def encode_texts(self, texts: Texts) -> Features:
        """`text` (T, D) and `words` (T, L, D) of unit length, 0 where no word is; `is_word` (T, L).

        Each text has at least one word; its marks count.
        """
        assert texts.words is not None
        assert texts.is_word is not None
        words = texts.words.masked_fill(~texts.is_word[..., None], 0.0)
        return {
            "text": F.normalize(texts.sentence, dim=-1),
            "words": F.normalize(words, dim=-1),
            "is_word": texts.is_word,
        }

    def encode_clips(self, clips: Clips) -> Features:
        """`clip` (V, D) and `frames` (V, F, D) of unit length.

        Raises:
            ConfigError: a clip has more than `max_frames` frames.
        """
        pooled = F.normalize(self.temporal(clips.frames), dim=-1).mean(dim=1)
        return {"clip": F.normalize(pooled, dim=-1), "frames": F.normalize(clips.frames, dim=-1)}

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Scores of every pair; holds T x L x V x F cosines a few times over."""
        text, words, is_word = texts["text"], texts["words"], texts["is_word"]
        clip, frames, tau = clips["clip"], clips["frames"], self.temperature
        with torch.autocast(device_type=text.device.type, enabled=False):
            video_sentence = text @ clip.T
            per_word = torch.einsum("tld,vd->tlv", words, clip)
            video_word = attend(per_word, dim=1, temperature=tau, admitted=is_word[:, :, None])
            sentence_frame = attend(torch.einsum("td,vfd->tvf", text, frames), dim=2, temperature=tau)
            cosines = torch.einsum("tld,vfd->tlvf", words, frames)
            of_frames = attend(cosines, dim=1, temperature=tau, admitted=is_word[:, :, None, None])
            of_words = attend(cosines, dim=3, temperature=tau)
            frame_word = attend(of_frames, dim=2, temperature=tau)
            word_frame = attend(of_words, dim=1, temperature=tau, admitted=is_word[:, :, None])
            return (video_sentence + video_word + sentence_frame + (frame_word + word_frame) / 2) / 4

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """The pooled vectors v."""
        return clips["clip"]


def attend(
    scores: Float[Tensor, ...],
    *,
    dim: int,
    temperature: float,
    admitted: Bool[Tensor, ...] | None = None,
) -> Float[Tensor, ...]:
    """Mean of scores along a dimension, each weighted by the softmax of itself.

        A_i s_i = sum_i a_i s_i,  a = softmax(s / tau)

    Args:
        scores: of any shape.
        dim: the dimension that goes.
        temperature: tau > 0.
        admitted: which scores take part, at least one along `dim`; broadcast to `scores`, which are finite everywhere.

    Returns:
        The shape of `scores` without `dim`, between the least and the greatest admitted score.

    Source: Ma et al. 2022 (X-CLIP), AOSM.

    Weights 1/5 and 4/5:

    >>> attend(torch.tensor([0.0, math.log(4)]), dim=0, temperature=1.0)
    tensor(1.1090)
    """
    logits = scores / temperature
    if admitted is not None:
        logits = logits.masked_fill(~admitted, -math.inf)
    return (logits.softmax(dim=dim) * scores).sum(dim=dim)

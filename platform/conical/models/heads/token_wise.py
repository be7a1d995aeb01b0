"""Each word meets its best frame and each frame its best word: DRL's weighted token-wise interaction.

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
    from jaxtyping import Float

# of DRL's linear layers; its biases start at 0
WEIGHT_STD = 0.02


class TokenWise(Head):
    """Weighted mean of the cosines of each word with its nearest frame and of each frame with its nearest word.

    With c_ij the cosine of word i of a text with frame j of a clip, and w, v the weights of words and frames:

        s = ( sum_i w_i max_j c_ij + sum_j v_j max_i c_ij ) / 2
        w = softmax over words of MLP_t(word),  v = softmax over frames of MLP_v(frame)

    The MLPs see the embeddings before they are brought to unit length. Frames first pass `FrameTransformer`.

    `channel_decorrelation` of the losses reads the features `words`, `word_weights` and `is_word` of texts, `frames`
    and `frame_weights` of clips.

    Differences from the published code: positions that hold no word take no part in max_i, where theirs count as
    cosine 0; the last layer of an MLP has no bias, which softmax would cancel; the start of the transformer.

    Args:
        width: of the embeddings.
        weight_layers: linear layers of each MLP, with ReLU between them: 1, 2 or 3.
        num_layers: of the transformer over frames; 0 leaves it out, and the next three settings are not read.
        max_frames: most frames a clip may have; a clip with more is refused.
        num_heads: of the attention, a divisor of `width`; 0 takes width // 64, at least 1.
        start: `identity` or `clip`, see `FrameTransformer`.

    Raises:
        ConfigError: a setting is out of range.

    Source: Wang et al. 2022, "Disentangled Representation Learning for Text-Video Retrieval" (DRL), weighted token-wise
    interaction (`wti` with `wti_arch` 2 and `agg_module` seqTransf of 4 layers in its code).
    """

    needs_words = True

    def __init__(
        self,
        width: int,
        *,
        weight_layers: int = 2,
        num_layers: int = 4,
        max_frames: int = 64,
        num_heads: int = 0,
        start: str = "identity",
    ) -> None:
        super().__init__()
        if weight_layers not in (1, 2, 3):
            raise ConfigError(f"weight_layers must be 1, 2 or 3, got {weight_layers}")
        self.word_weight = _weight_branch(width, weight_layers)
        self.frame_weight = _weight_branch(width, weight_layers)
        self.temporal: nn.Module = nn.Identity()
        if num_layers:
            self.temporal = FrameTransformer(
                width, num_layers=num_layers, max_frames=max_frames, num_heads=num_heads, start=start
            )

    def encode_texts(self, texts: Texts) -> Features:
        """`text` (T, D), `words` (T, L, D) and `is_word` (T, L); `word_weights` (T, L, 1), which sum to 1 in a text.

        Both embeddings are of unit length; words and weights are 0 where no word is. Each text has at least one word;
        its marks count. `text` takes no part in `similarity`.
        """
        assert texts.words is not None
        assert texts.is_word is not None
        with torch.autocast(device_type=texts.words.device.type, enabled=False):
            # a gradient of 0 times inf would be nan: what stands behind a text must not reach the MLP
            words = texts.words.masked_fill(~texts.is_word[..., None], 0.0)
            logits = self.word_weight(words).masked_fill(~texts.is_word[..., None], -math.inf)
            return {
                "text": F.normalize(texts.sentence, dim=-1),
                "words": F.normalize(words, dim=-1),
                "word_weights": logits.softmax(dim=1),
                "is_word": texts.is_word,
            }

    def encode_clips(self, clips: Clips) -> Features:
        """`frames` (V, F, D) of unit length; `frame_weights` (V, F, 1), which sum to 1 in a clip.

        Raises:
            ConfigError: a clip has more than `max_frames` frames.
        """
        with torch.autocast(device_type=clips.frames.device.type, enabled=False):
            frames = self.temporal(clips.frames)
            weights = self.frame_weight(frames).softmax(dim=1)
            return {"frames": F.normalize(frames, dim=-1), "frame_weights": weights}

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Scores of every pair; holds T x L x V x F cosines at once."""
        is_word = texts["is_word"]
        with torch.autocast(device_type=is_word.device.type, enabled=False):
            cosines = torch.einsum("tld,vfd->tlvf", texts["words"], clips["frames"])
            best_frame = cosines.amax(dim=3)
            best_word = cosines.masked_fill(~is_word[:, :, None, None], -math.inf).amax(dim=1)
            text_to_video = torch.einsum("tlv,tl->tv", best_frame, texts["word_weights"].squeeze(-1))
            video_to_text = torch.einsum("tvf,vf->tv", best_word, clips["frame_weights"].squeeze(-1))
            return (text_to_video + video_to_text) / 2

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """The normalised mean of the unit-length frames; the weights play no part."""
        return F.normalize(clips["frames"].mean(dim=1), dim=-1)


def _weight_branch(width: int, num_layers: int) -> nn.Sequential:
    """(..., D) to (..., 1) logits."""
    layers: list[nn.Module] = []
    for _ in range(num_layers - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    layers.append(nn.Linear(width, 1, bias=False))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=WEIGHT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)

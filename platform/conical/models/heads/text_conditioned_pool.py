"""A clip pooled anew for each text that asks: X-Pool.

Shapes: T texts, V clips, F frames per clip, D width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips, Features, Head, Texts

if TYPE_CHECKING:
    from jaxtyping import Float

# below it a vector is taken to have no direction; as in torch's normalize
MIN_LENGTH = 1e-12


class TextConditionedPool(Head):
    """Cosine of a text with the frames of a clip, pooled by the attention that the text pays to them.

    With t a text's sentence, f_1 .. f_F a clip's frames, as the towers give them, and LN_1 the same for both:

        q = W_q LN_1(t),  k_j = W_k LN_1(f_j),  u_j = W_u LN_1(f_j)
        a = softmax over j of q . k_j / sqrt(D)
        r = LN_2( W_o sum_j a_j u_j )
        z = LN_3( r + Dropout(W_l r) )
        s = cos(t, z)

    The matrices start as the identity and their biases at 0, as published. W_k has no bias (theirs has): it would add
    the same to each logit of a softmax. W_o acts on the u_j instead of on their mean, which is the same, since the
    a_j sum to 1, and costs F products of size D x D for a clip instead of T.

    Args:
        width: of the embeddings.
        dropout: share of W_l r that is dropped in training, in [0, 1); each pair of a text and a clip has its own draw.
            Above 0, N ranks, each with its own draws, give what one process gives in the mean only, and so do blocks
            of pairs; 0 keeps both exact.

    Raises:
        ConfigError: a setting is out of range.

    Source: Gorti et al. 2022, "X-Pool: Cross-Modal Language-Video Attention for Text-Video Retrieval"; one attention
    head and dropout 0.3 (0.4 for MSR-VTT 7k and MSVD) as in its code.
    """

    def __init__(self, width: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.norm_inputs = nn.LayerNorm(width)
        self.query = _identity(width)
        self.key = _identity(width, bias=False)
        self.value = _identity(width)
        self.output = _identity(width)
        self.norm_pooled = nn.LayerNorm(width)
        self.linear = _identity(width)
        self.dropout = nn.Dropout(dropout)
        self.norm_result = nn.LayerNorm(width)

    def encode_texts(self, texts: Texts) -> Features:
        """`text` (T, D) of unit length; `query` (T, D), q / sqrt(D)."""
        with torch.autocast(device_type=texts.sentence.device.type, enabled=False):
            query = self.query(self.norm_inputs(texts.sentence))
            return {
                "text": F.normalize(texts.sentence, dim=-1),
                "query": query / math.sqrt(query.shape[-1]),
            }

    def encode_clips(self, clips: Clips) -> Features:
        """`keys` and `values` (V, F, D), k_j and W_o u_j; `clip` (V, D), the normalised mean of unit-length frames."""
        with torch.autocast(device_type=clips.frames.device.type, enabled=False):
            normed = self.norm_inputs(clips.frames)
            mean = F.normalize(clips.frames, dim=-1).mean(dim=1)
            return {
                "keys": self.key(normed),
                "values": self.output(self.value(normed)),
                "clip": F.normalize(mean, dim=-1),
            }

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Scores of every pair; each step holds T x V x D numbers."""
        text = texts["text"]
        with torch.autocast(device_type=text.device.type, enabled=False):
            attention = torch.einsum("td,vfd->tvf", texts["query"], clips["keys"]).softmax(dim=-1)
            pooled = self.norm_pooled(torch.einsum("tvf,vfd->tvd", attention, clips["values"]))
            pooled = self.norm_result(pooled + self.dropout(self.linear(pooled)))
            # dividing what is left by the length: normalising would hold T x V x D once more
            length: Tensor = pooled.norm(dim=-1)
            return torch.einsum("td,tvd->tv", text, pooled) / length.clamp_min(MIN_LENGTH)

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """The mean of frames: no text asks, and nothing of what is trained here takes part."""
        return clips["clip"]


def _identity(width: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer that starts as the identity."""
    layer = nn.Linear(width, width, bias=bias)
    nn.init.eye_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer

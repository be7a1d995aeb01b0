"""What every head is: from what the towers give to what is compared, and the comparison.

Shapes: T texts, V clips, F frames per clip, L word positions, P patches per frame, K captions per clip, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# tensors by name, each with one row per text or per clip, so that rows can be gathered, cached, chosen and joined
Features = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What the text tower and its projection give; float32, of any length.

    Args:
        sentence: (T, D) one embedding per text.
        words: (T, L, D) one embedding per token, marks included; None unless the head asks for them.
        is_word: (T, L) whether the position belongs to the text; what stands elsewhere in `words` means nothing.
    """

    sentence: Float[Tensor, "text dim"]
    words: Float[Tensor, "text word dim"] | None = None
    is_word: Bool[Tensor, "text word"] | None = None


@dataclass(frozen=True, kw_only=True)
class Clips:
    """What the image tower and its projection give; float32, of any length.

    Args:
        frames: (V, F, D) one embedding per frame, in the order of time.
        patches: (V, F, P, D) one embedding per patch of a frame; None unless the head asks for them.
        captions: (V, K, D) sentence embeddings of the clip's supplements; None unless the head asks for them and they
            may be used.
        has_caption: (V, K) whether the clip has that supplement; a row of `captions` without one means nothing.
    """

    frames: Float[Tensor, "clip frame dim"]
    patches: Float[Tensor, "clip frame patch dim"] | None = None
    captions: Float[Tensor, "clip caption dim"] | None = None
    has_caption: Bool[Tensor, "clip caption"] | None = None


class Head(nn.Module):
    """Compares texts with clips; rows are independent until `similarity`.

    `encode_texts` and `encode_clips` see one text or one clip per row and may not mix rows, so that N ranks, chunks of
    a batch and a stored index give what one process gives. `similarity` sees every pair of the rows it is handed and
    may be called on any block of them. Rows are filled up with zeros along their second dimension where others are
    longer; what is no text or supplement is told by masks named `is_...` or `has_...`.
    """

    needs_words: ClassVar[bool] = False
    needs_patches: ClassVar[bool] = False
    needs_captions: ClassVar[bool] = False

    @property
    def caption_weight(self) -> Float[Tensor, ""]:
        """Share of the supplements in the scores, in [0, 1]; of heads that read them."""
        raise NotImplementedError

    def encode_texts(self, texts: Texts) -> Features:
        """Tensors with one row per text; `text` is the sentence embedding, (T, D), of unit length."""
        raise NotImplementedError

    def encode_clips(self, clips: Clips) -> Features:
        """Tensors with one row per clip."""
        raise NotImplementedError

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Score of every pair, in [-1, 1]: a cosine or a weighted mean of cosines."""
        raise NotImplementedError

    def caption_similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Score of every pair by the clips' supplements alone; of heads that read them.

        What a clip without supplements gets means nothing.
        """
        raise NotImplementedError

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """One unit-length vector per clip, whatever the query: what two clips are compared by."""
        raise NotImplementedError


class PoolingHead(Head):
    """A head that makes one vector of a clip's frames; a text is its sentence embedding, the score their cosine.

    A subclass gives `pool`. Such a head can be indexed.
    """

    def pool(self, frames: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip dim"]:
        """(V, D), of any length above zero."""
        raise NotImplementedError

    def encode_texts(self, texts: Texts) -> Features:
        """`text`: (T, D), unit length."""
        return {"text": F.normalize(texts.sentence, dim=-1)}

    def encode_clips(self, clips: Clips) -> Features:
        """`clip`: (V, D), unit length."""
        return {"clip": F.normalize(self.pool(clips.frames), dim=-1)}

    def similarity(self, texts: Features, clips: Features) -> Float[Tensor, "text clip"]:
        """Cosines."""
        return texts["text"] @ clips["clip"].T

    def vectors(self, clips: Features) -> Float[Tensor, "clip dim"]:
        """The pooled vectors."""
        return clips["clip"]

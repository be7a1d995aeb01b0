"""Channel decorrelation: each channel of a text should say what the same channel of its video says, and only that.

Shapes: B rows, L word positions, F frames per clip, D channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conical.core.options import require
from conical.losses.compared import Comparison

if TYPE_CHECKING:
    from jaxtyping import Float, Int

TEXT_FEATURES = ("words", "word_weights", "is_word")
VIDEO_FEATURES = ("frames", "frame_weights")
# added to a variance: unit vectors of 1,000 channels have about 1e-3
MIN_VARIANCE = 1e-12


def channel_decorrelation(
    comparison: Comparison, *, diagonal: float = 1.0, off_diagonal: float = 0.06
) -> Float[Tensor, ""]:
    """Squared distance of the correlation matrix between text channels and video channels from the identity.

        L = diagonal sum_c (C_cc - 1)^2 + off_diagonal sum_{c != d} C_cd^2

    C_cd is the correlation of channel c of texts with channel d of videos, the mean of two. In the first each word of
    a text is paired with the nearest frame of its own video, in the second each frame with the nearest word of its own
    text. A pair counts with the weight of its word or frame, divided by the number of rows of its video: rows that
    share a video id are captions of one video, which so counts once, whatever the number of its captions; each caption
    is still paired with its own row only. No two rows of different videos are compared.

    Differences from the published code: it takes mean and variance of a channel over all words without their weights
    (the weights enter the product only, so that C_cc may pass 1), and averages the first matrix with the second of
    transposed channels; here both are (text channel, video channel), and a channel without variance counts as 0.

    Args:
        comparison: of the head `token_wise`. Read are, of its texts, `words` (B, L, D) of unit length, `word_weights`
            (B, L, 1) that sum to 1 in a row, and `is_word` (B, L); of its videos, `frames` (B, F, D) of unit length and
            `frame_weights` (B, F, 1) that sum to 1 in a row; and `video_ids`.
        diagonal: weight of the channels that should agree, >= 0.
        off_diagonal: weight of the channels that should not, >= 0.

    Returns:
        Scalar loss in [0, diagonal 4 D + off_diagonal D (D - 1)], float32 or wider; to be added to the contrastive
        loss with a small weight (published: 0.001).

    Raises:
        ValueError: a feature is missing, or a weight is out of range.

    Source: Wang et al. 2022 (DRL), channel decorrelation regularization (`cdcr` 3 in its code, whose defaults are the
    ones here; its runs on MSR-VTT take 0.11 or 0.14 and 0).

    Two rows of one word and one frame; both channels agree, and each is the other reversed: C = [[1, -1], [-1, 1]]:

    >>> words, frames = torch.tensor([[[0.6, 0.8]], [[0.8, 0.6]]]), torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    >>> features = {"words": words, "word_weights": torch.ones(2, 1, 1), "is_word": torch.ones(2, 1, dtype=torch.bool)}
    >>> pair = Comparison(
    ...     similarity={},
    ...     video_ids=torch.tensor([0, 1]),
    ...     texts=features,
    ...     videos={"frames": frames, "frame_weights": torch.ones(2, 1, 1)},
    ... )
    >>> channel_decorrelation(pair, diagonal=1.0, off_diagonal=0.5)
    tensor(1.)
    """
    for name, weight in (("diagonal", diagonal), ("off_diagonal", off_diagonal)):
        require(0 <= weight < math.inf, f"{name} must be a finite number >= 0, got {weight}")
    words, word_weights, is_word = _features("texts", comparison.texts, TEXT_FEATURES)
    frames, frame_weights = _features("videos", comparison.videos, VIDEO_FEATURES)
    with torch.autocast(device_type=words.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(words.dtype, frames.dtype), torch.float32)
        words, word_weights, frames, frame_weights = (x.to(wide) for x in (words, word_weights, frames, frame_weights))
        per_row = _row_weights(comparison.video_ids, wide)[:, None, None]
        cosines = (words.detach() @ frames.detach().mT).masked_fill(~is_word[..., None], -math.inf)
        best_frames = _taken(frames, cosines.argmax(dim=2))
        best_words = _taken(words, cosines.argmax(dim=1))
        by_word = _correlation(words, best_frames, word_weights * per_row)
        by_frame = _correlation(best_words, frames, frame_weights * per_row)
        correlation = (by_word + by_frame) / 2
        agreement = correlation.diagonal()
        others = correlation - agreement.diag()
        return diagonal * (agreement - 1).square().sum() + off_diagonal * others.square().sum()


def _features(side: str, features: Mapping[str, Tensor], names: tuple[str, ...]) -> list[Tensor]:
    require(
        set(names) <= features.keys(),
        f"channel decorrelation needs {', '.join(names)} of the {side}, got {', '.join(features) or 'none'}: "
        "use it with the head token_wise",
    )
    return [features[name] for name in names]


def _row_weights(video_ids: Int[Tensor, " batch"], dtype: torch.dtype) -> Float[Tensor, " batch"]:
    """(B,) weights that sum to 1, in which each video has the same share."""
    shares = (video_ids[:, None] == video_ids[None, :]).sum(dim=1).to(dtype).reciprocal()
    return shares / shares.sum()


def _taken(
    tokens: Float[Tensor, "batch token dim"], index: Int[Tensor, "batch other"]
) -> Float[Tensor, "batch other dim"]:
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def _correlation(
    texts: Float[Tensor, "batch token dim"],
    videos: Float[Tensor, "batch token dim"],
    weights: Float[Tensor, "batch token 1"],
) -> Float[Tensor, "dim dim"]:
    """(D, D) weighted correlation of each channel of `texts` with each of `videos`; the weights sum to 1."""
    weighted = _standard(texts, weights) * weights
    return weighted.flatten(0, 1).T @ _standard(videos, weights).flatten(0, 1)


def _standard(tokens: Tensor, weights: Tensor) -> Tensor:
    """Channels with weighted mean 0 and variance 1."""
    centred = tokens - (weights * tokens).sum(dim=(0, 1))
    variance = (weights * centred.square()).sum(dim=(0, 1))
    return centred * (variance + MIN_VARIANCE).rsqrt()

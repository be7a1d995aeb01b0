"""Two terms that dwell on what is nearly right: negatives that outscore the positive, and weakened copies of it.

**NegNCE.** With p_ij = exp(tau s_ij) / sum_k exp(tau s_ik) over the positive and the negatives of row i, and H the
negatives that come within a margin of the positive of their row or of their column,

    H = { (i, j) : s_ij > s_ii - m  or  s_ij > s_jj - m }
    L = -w_pos mean_i log p_ii  -  w_neg mean_{(i, j) in H} log(1 - p_ij)

The first part is InfoNCE. The second grows without bound for a negative that takes the whole row, and is 0 where H is
empty.

**Partial order.** A pair scores at least a margin above the same pair with the tokens that matter most taken out of
its text or its clip:

    L = mean_i max(0, m - (s_i - s'_i))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conical.core.options import require
from conical.losses.compared import Comparison
from conical.losses.contrastive import negatives
from conical.losses.pairs import check_scale, check_square

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from conical.losses.options import LossOptions


def neg_nce_term(
    similarity: Float[Tensor, "batch batch"],
    *,
    tau: float | Float[Tensor, ""],
    margin: float = 0.0,
    positive_weight: float = 1.0,
    negative_weight: float = 0.5,
    symmetric: bool = True,
    video_ids: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """NegNCE of this module's head.

    Args:
        similarity: (batch, batch); row i and column i are the positive pair.
        tau: scale that multiplies the similarities, above 0; a scalar tensor gets a gradient.
        margin: how far below the positive a negative still counts as hard, in similarities, >= 0.
        positive_weight: w_pos, >= 0.
        negative_weight: w_neg, >= 0; 0 leaves `positive_weight` times InfoNCE.
        symmetric: average the rows' direction with the columns'.
        video_ids: (batch,) integers; pairs of rows that share one are neither positives nor negatives.

    Returns:
        Scalar loss, >= 0.

    Raises:
        ValueError: a shape or a number is wrong.

    Source: Jiang et al. 2023, "Dual-Modal Attention-Enhanced Text-Video Retrieval with Triplet Partial Margin
        Contrastive Learning" (DMAE). The defaults are those of the authors' released code, which has tau = 100; it
        clamps each p_ij into [1e-6, 1 - 1e-6], beyond which nothing is learnt, while the logarithm here is exact.

    At tau = log 2 the rows of p are (1/3, 2/3) and (1/2, 1/2). Only the negative of row 0 outscores a positive, so
    that the loss is (log 3 + log 2) / 2 + log(3) / 2:

    >>> neg_nce_term(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), tau=math.log(2), symmetric=False)
    tensor(1.4452)
    """
    check_scale("tau", tau)
    for name, value in (("margin", margin), ("positive_weight", positive_weight), ("negative_weight", negative_weight)):
        require(math.isfinite(value) and value >= 0, f"{name} must be a finite number >= 0, got {value}")
    check_square(similarity)
    is_negative = negatives(similarity, video_ids)
    positive = similarity.diagonal()
    is_hard = is_negative & ((similarity > positive[:, None] - margin) | (similarity > positive[None, :] - margin))

    def one_direction(scores: Tensor, is_hard: Tensor) -> Tensor:
        log_odds, penalties = _row_terms(tau * scores, is_negative)
        # without a branch on the number, which would wait for a GPU
        hard = penalties.where(is_hard, 0.0).sum() / is_hard.sum().clamp(min=1)
        return positive_weight * log_odds.mean() + negative_weight * hard

    rows = one_direction(similarity, is_hard)
    return (rows + one_direction(similarity.T, is_hard.T)) / 2 if symmetric else rows


def _row_terms(
    logits: Float[Tensor, "batch batch"], is_negative: Bool[Tensor, "batch batch"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch batch"]]:
    """-log p_ii of each row, and -log(1 - p_ij) of each pair; `is_negative` is symmetric."""
    batch = len(logits)
    is_admitted = is_negative | torch.eye(batch, dtype=torch.bool, device=logits.device)
    # finite: a row may be left without any column below, and infinities would make its gradient NaN
    lowest = torch.finfo(logits.dtype).min
    logits = logits.masked_fill(~is_admitted, lowest)
    total = logits.logsumexp(dim=1, keepdim=True)
    # 1 - p loses its digits where p is near 1, which only the largest of a row can be: there, sum over the others
    is_top = torch.zeros_like(is_admitted).scatter(1, logits.argmax(dim=1, keepdim=True), True)
    others = logits.masked_fill(is_top, lowest).logsumexp(dim=1, keepdim=True)
    small = (logits - total).masked_fill(is_top, lowest).exp()
    penalties = torch.where(is_top, total - others, -torch.log1p(-small))
    return (total[:, 0] - logits.diagonal()), penalties


def neg_nce_terms(
    comparison: Comparison, *, taus: Mapping[str, float | Tensor], bias: float | Tensor, options: LossOptions
) -> dict[str, Tensor]:
    """NegNCE of texts and videos in the convention of `conical.losses.table`."""
    del bias
    loss = neg_nce_term(
        comparison.similarity["tv"],
        tau=taus["tv"],
        margin=options.hard_margin,
        negative_weight=options.w_hard,
        symmetric=options.symmetric,
        video_ids=comparison.video_ids,
    )
    return {"loss": loss}


def partial_order_term(
    full: Float[Tensor, " batch"], weakened: Float[Tensor, " batch"], *, margin: float = 0.6
) -> Float[Tensor, ""]:
    """Mean by which weakened pairs come too close to the full ones.

    A positive pair is weakened by masking, in its text or in its clip, the tokens that matter most to the other side.
    Pairs of different videos play no part.

    Args:
        full: (batch,) similarity of each text with its clip.
        weakened: (batch,) similarity of the same pair, weakened on one side.
        margin: least distance asked for, >= 0.

    Returns:
        Scalar loss, >= 0.

    Raises:
        ValueError: shapes differ, or the margin is below 0.

    Source: Jiang et al. 2023 (DMAE), "Triplet Partial Margin Contrastive Learning". The margin is that of the authors'
        released code, which takes out the tokens that hold the first 60 % of the importance and adds up three such
        terms: the clip weakened under the sentence, the clip and the text weakened under the weighted words.

    >>> partial_order_term(torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5]), margin=0.5)
    tensor(0.2500)
    """
    require(math.isfinite(margin) and margin >= 0, f"margin must be a finite number >= 0, got {margin}")
    require(
        full.ndim == 1 and full.shape == weakened.shape and len(full) > 0,
        f"full and weakened must both be (batch,), got {tuple(full.shape)} and {tuple(weakened.shape)}",
    )
    return (margin - (full - weakened)).clamp(min=0).mean()


def partial_order(comparison: Comparison) -> Float[Tensor, ""]:
    """`partial_order_term` of each text with its own video, as a row of `conical.losses.table.EXTRAS`.

    Raises:
        ValueError: there are no weakened pairs.
    """
    require(comparison.weakened is not None, "partial_order needs the scores of weakened pairs, got none")
    assert comparison.weakened is not None
    return partial_order_term(comparison.similarity["tv"].diagonal(), comparison.weakened)

"""The pairwise sigmoid loss: each pair is a question of its own, do text and video belong together?

With s_ij the similarity of text i and video j, the scale tau and the bias b:

    l_ij = -log sigmoid( y_ij (tau s_ij + b) ),   y_ij = 1 at i = j, -1 at pairs of different videos
    L    = (1 / B) sum_i sum_j l_ij

The sum runs over all pairs, so there is no second direction to average with. B - 1 of B pairs are negatives: the bias
starts far below zero, so that the first steps need not undo a wrong prior.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.core.options import require
from conical.losses.compared import Comparison
from conical.losses.contrastive import negatives
from conical.losses.pairs import check_scale, check_square

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from conical.losses.options import LossOptions


def sigmoid_term(
    similarity: Float[Tensor, "batch batch"],
    *,
    tau: float | Float[Tensor, ""] = 10.0,
    bias: float | Float[Tensor, ""] = -10.0,
    video_ids: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over the rows of the summed losses of their pairs.

    Args:
        similarity: (batch, batch); row i and column i are the positive pair.
        tau: scale that multiplies the similarities, above 0; a scalar tensor gets a gradient.
        bias: added to the scaled similarities; a scalar tensor gets a gradient.
        video_ids: (batch,) integers; pairs of rows that share one are neither positives nor negatives.

    Returns:
        Scalar loss, >= 0.

    Raises:
        ValueError: a shape, the scale or the bias is wrong.

    Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training" (SigLIP), section 3.2 and algorithm 1:
        tau starts at 10 and bias at -10, both learnt, tau through its logarithm.

    Each of the four pairs gives log 2, so each row 2 log 2:

    >>> import torch
    >>> sigmoid_term(torch.zeros(2, 2), tau=1.0, bias=0.0)
    tensor(1.3863)
    """
    check_scale("tau", tau)
    _check_bias(bias)
    check_square(similarity)
    is_negative = negatives(similarity, video_ids)
    logits = tau * similarity + bias
    together = F.logsigmoid(logits.diagonal())
    apart = F.logsigmoid(-logits).where(is_negative, 0.0).sum(dim=1)
    return -(together + apart).mean()


def sigmoid_terms(
    comparison: Comparison, *, taus: Mapping[str, float | Tensor], bias: float | Tensor, options: LossOptions
) -> dict[str, Tensor]:
    """`sigmoid_term` of texts and videos in the convention of `conical.losses.table`; a single term needs no weight."""
    del options
    loss = sigmoid_term(comparison.similarity["tv"], tau=taus["tv"], bias=bias, video_ids=comparison.video_ids)
    return {"loss": loss}


def _check_bias(bias: float | Tensor) -> None:
    if isinstance(bias, Tensor):
        require(bias.ndim == 0, f"bias must be a number or a scalar tensor, got shape {tuple(bias.shape)}")
    else:
        require(math.isfinite(bias), f"bias must be a finite number, got {bias}")

"""InfoNCE between two sets of embeddings: the baseline that CLIP-style retrieval is trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from conical.losses.contrastive import compare_embeddings, contrastive_term

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from conical.losses.compared import Comparison
    from conical.losses.options import LossOptions


def info_nce(
    query: Float[Tensor, "batch dim"],
    gallery: Float[Tensor, "batch dim"],
    *,
    tau: float | Float[Tensor, ""],
    denominator: str = "all",
    symmetric: bool = False,
    video_ids: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of -log softmax(tau cos(query_i, gallery_j)) at j = i.

    Args:
        query: (batch, dim) embeddings, normalised in here; row i belongs to gallery row i.
        gallery: (batch, dim) embeddings, normalised in here.
        tau: scale that multiplies the cosines, above 0; a scalar tensor gets a gradient.
        denominator: `"all"` (InfoNCE) or `"negatives"` (decoupled: without the positive).
        symmetric: average with the direction gallery to query.
        video_ids: (batch,) integers; rows that share one are masked out of each other's denominator.

    Returns:
        Scalar loss; for `"all"` in [0, log(batch) + 2 tau].

    Raises:
        ValueError: shapes differ, tau or a choice is wrong, or there is no negative under `"negatives"`.

    Source: van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding", eq. 4.

    Cosines [[1, 0], [0, 1]] at tau = 1 give log(e + 1) - 1 in each row:

    >>> import torch
    >>> info_nce(torch.eye(2), torch.eye(2), tau=1.0)
    tensor(0.3133)
    """
    similarity = compare_embeddings(query, gallery)
    return contrastive_term(similarity, tau=tau, denominator=denominator, symmetric=symmetric, video_ids=video_ids)


def info_nce_terms(
    comparison: Comparison, *, taus: Mapping[str, float | Tensor], bias: float | Tensor, options: LossOptions
) -> dict[str, Tensor]:
    """InfoNCE of texts and videos in the convention of `conical.losses.table`; a single term needs no weight."""
    del bias
    loss = contrastive_term(
        comparison.similarity["tv"],
        tau=taus["tv"],
        denominator=options.denominator,
        symmetric=options.symmetric,
        video_ids=comparison.video_ids,
    )
    return {"loss": loss}

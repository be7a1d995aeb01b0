"""The one contrastive term that all losses here are made of.

For row i with positive s_ii and admitted columns D_i, at the scale tau (it multiplies: an inverse temperature):

    l_i = -log( exp(tau s_ii) / sum_{j in D_i} exp(tau s_ij) )  =  logsumexp_{j in D_i}(tau s_ij) - tau s_ii

`denominator="all"`: D_i holds the positive and the negatives (InfoNCE). `denominator="negatives"`: D_i holds the
negatives only (the decoupled form; l_i may be below zero). Negatives of row i are the columns j != i that belong to
another video than row i.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from conical.core.options import require, require_choice
from conical.losses.options import DENOMINATORS
from conical.losses.pairs import check_scale, check_square

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def cosine_similarity(
    query: Float[Tensor, "query dim"], gallery: Float[Tensor, "gallery dim"]
) -> Float[Tensor, "query gallery"]:
    """Cosine of each query with each gallery row, in float32 or wider whatever autocast says.

    Args:
        query: (query, dim) embeddings of any length above zero.
        gallery: (gallery, dim) embeddings of any length above zero.

    Returns:
        (query, gallery) similarities in [-1, 1].

    >>> cosine_similarity(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([[1., 0.]])
    """
    # bfloat16 cosines near 1 are 0.004 apart: at tau = 100 that is a step of 0.4 in the logits
    with torch.autocast(device_type=query.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(query.dtype, gallery.dtype), torch.float32)
        unit_query = torch.nn.functional.normalize(query.to(wide), dim=-1)
        unit_gallery = torch.nn.functional.normalize(gallery.to(wide), dim=-1)
        return unit_query @ unit_gallery.T


def compare_embeddings(
    query: Float[Tensor, "batch dim"], gallery: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch batch"]:
    """`cosine_similarity` of as many queries as gallery rows, row i of both the same clip.

    Raises:
        ValueError: shapes differ.
    """
    require(
        query.ndim == 2 and query.shape == gallery.shape,
        f"query and gallery must both be (batch, dim), got {tuple(query.shape)} and {tuple(gallery.shape)}",
    )
    return cosine_similarity(query, gallery)


def contrastive_term(
    similarity: Float[Tensor, "batch batch"],
    *,
    tau: float | Float[Tensor, ""],
    denominator: str = "all",
    symmetric: bool = False,
    video_ids: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over the rows of the contrastive term of this module's head.

    Either each row has a negative or none has (then the whole batch is one video): `"negatives"` refuses such a batch,
    `"all"` gives the 0 of its formula.

    Args:
        similarity: (batch, batch); row i and column i are the positive pair.
        tau: scale that multiplies the similarities, above 0; a scalar tensor gets a gradient.
        denominator: `"all"` or `"negatives"`.
        symmetric: average the rows' direction with the columns'.
        video_ids: (batch,) integers; pairs of rows that share one are neither positives nor negatives.

    Returns:
        Scalar loss.

    Raises:
        ValueError: a shape, scale or choice is wrong, or there is no negative under `"negatives"`.

    Source: van den Oord et al. 2018, eq. 4 ("all"); Yeh et al. 2022, "Decoupled Contrastive Learning" ("negatives").

    With the logits [[2, 0], [1, 3]] the rows give (0 - 2) and (1 - 3), so the mean is -2:

    >>> contrastive_term(torch.tensor([[1.0, 0.0], [0.5, 1.5]]), tau=2.0, denominator="negatives")
    tensor(-2.)
    """
    check_scale("tau", tau)
    require_choice("denominator", denominator, DENOMINATORS)
    check_square(similarity)
    is_negative = negatives(similarity, video_ids)
    logits = tau * similarity
    rows = _one_direction(logits, is_negative, denominator)
    if not symmetric:
        return rows
    return (rows + _one_direction(logits.T, is_negative, denominator)) / 2


def negatives(similarity: Tensor, video_ids: Tensor | None) -> Bool[Tensor, "batch batch"]:
    """Which pairs of rows are of two videos; without ids each row is a video of its own.

    Raises:
        ValueError: the ids are not one integer per row.
    """
    batch = similarity.shape[0]
    if video_ids is None:
        return ~torch.eye(batch, dtype=torch.bool, device=similarity.device)
    require(
        video_ids.shape == (batch,) and not video_ids.is_floating_point(),
        f"video_ids must be {batch} integers, one per row, got {video_ids.dtype} of shape {tuple(video_ids.shape)}",
    )
    ids = video_ids.to(similarity.device)
    return ids[:, None] != ids[None, :]


def _one_direction(logits: Tensor, is_negative: Tensor, denominator: str) -> Tensor:
    positive = logits.diagonal()
    if denominator == "all":
        is_admitted = is_negative | torch.eye(len(positive), dtype=torch.bool, device=logits.device)
        return (logits.masked_fill(~is_admitted, -math.inf).logsumexp(dim=1) - positive).mean()
    require(
        bool(is_negative.any()),
        f"denominator 'negatives' needs rows of at least 2 videos in a batch, got {len(positive)} row(s) of one video: "
        "use a larger batch, more videos in it, or denominator 'all'",
    )
    return (logits.masked_fill(~is_negative, -math.inf).logsumexp(dim=1) - positive).mean()

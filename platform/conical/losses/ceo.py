"""Conical Embedding Optimization: a caption, its video and a transformed copy of the video pull one another together.

With t_i a caption's embedding, v_i its video's and a_i that of the same clip after a random transformation:

    L = w_tv L_tv + w_ta L_ta + w_va L_va

    L_tv   text to video        alignment to the video
    L_ta   text to copy         alignment to its copy
    L_va   video to copy        elasticity preservation

Each term is `info_nce` with its own scale; [CEO25] leaves the positive out of the denominator (`"negatives"`) and sums
in the one direction written here. It does not say how rows of the same clip are treated; we mask them (`video_ids`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from conical.losses.contrastive import compare_embeddings, contrastive_term
from conical.losses.options import check_weights

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from conical.losses.compared import Comparison
    from conical.losses.options import LossOptions


@dataclass(frozen=True, kw_only=True)
class CeoTerms:
    """The loss and its three terms before weighting.

    Args:
        total: scalar to call `backward` on.
        tv: scalar, text to video.
        ta: scalar, text to copy.
        va: scalar, video to copy.
    """

    total: Tensor
    tv: Tensor
    ta: Tensor
    va: Tensor

    def __post_init__(self) -> None:
        for name in ("total", "tv", "ta", "va"):
            assert getattr(self, name).ndim == 0, name

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name).item():.4f}" for name in ("total", "tv", "ta", "va"))
        return f"CeoTerms({values})"


def ceo_loss(
    text: Float[Tensor, "batch dim"],
    video: Float[Tensor, "batch dim"],
    augmented: Float[Tensor, "batch dim"],
    *,
    tau_tv: float | Float[Tensor, ""],
    tau_ta: float | Float[Tensor, ""],
    tau_va: float | Float[Tensor, ""],
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    denominator: str = "negatives",
    symmetric: bool = False,
    video_ids: Int[Tensor, " batch"] | None = None,
) -> CeoTerms:
    """Weighted sum of the three contrastive terms of this module's head.

    Give the embeddings of the global batch: negatives come from all ranks (`conical.distributed.gather_with_grad`).

    Args:
        text: (batch, dim) caption embeddings, normalised in here; row i of all three is the same clip.
        video: (batch, dim) video embeddings.
        augmented: (batch, dim) embeddings of the transformed copies.
        tau_tv: scale of text to video, above 0; a scalar tensor gets a gradient. It multiplies the cosines.
        tau_ta: scale of text to copy.
        tau_va: scale of video to copy.
        weights: (w_tv, w_ta, w_va), each >= 0, not all 0.
        denominator: `"negatives"` ([CEO25]) or `"all"`.
        symmetric: average each term with its reverse direction ([CEO25]: no).
        video_ids: (batch,) integers; rows that share one are masked out of each other's denominator.

    Returns:
        The total and the three terms.

    Raises:
        ValueError: shapes differ, a scale, weight or choice is wrong, or there is no negative under `"negatives"`.

    Source: [CEO25], see docs/method.md.

    All cosines are 1 at j = i and 0 elsewhere; under `"negatives"` each row gives 0 - tau:

    >>> import torch
    >>> ceo_loss(torch.eye(2), torch.eye(2), torch.eye(2), tau_tv=1.0, tau_ta=2.0, tau_va=4.0, weights=(1, 1, 0.5))
    CeoTerms(total=-5.0000, tv=-1.0000, ta=-2.0000, va=-4.0000)
    """
    return weigh_terms(
        {
            "tv": compare_embeddings(text, video),
            "ta": compare_embeddings(text, augmented),
            "va": compare_embeddings(video, augmented),
        },
        taus={"tv": tau_tv, "ta": tau_ta, "va": tau_va},
        weights=weights,
        denominator=denominator,
        symmetric=symmetric,
        video_ids=video_ids,
    )


def weigh_terms(
    similarity: Mapping[str, Float[Tensor, "batch batch"]],
    *,
    taus: Mapping[str, float | Tensor],
    weights: tuple[float, float, float],
    denominator: str,
    symmetric: bool,
    video_ids: Int[Tensor, " batch"] | None,
) -> CeoTerms:
    """`ceo_loss` of scores in place of embeddings.

    Args:
        similarity: (batch, batch) of `tv`, `ta` and `va`.
        taus: their scales.
    """
    check_weights(*weights)
    tv, ta, va = (
        contrastive_term(
            similarity[term], tau=taus[term], denominator=denominator, symmetric=symmetric, video_ids=video_ids
        )
        for term in ("tv", "ta", "va")
    )
    w_tv, w_ta, w_va = weights
    return CeoTerms(total=w_tv * tv + w_ta * ta + w_va * va, tv=tv, ta=ta, va=va)


def ceo_terms(
    comparison: Comparison, *, taus: Mapping[str, float | Tensor], bias: float | Tensor, options: LossOptions
) -> dict[str, Tensor]:
    """CEO in the convention of `conical.losses.table`."""
    del bias
    terms = weigh_terms(
        comparison.similarity,
        taus=taus,
        weights=(options.w_tv, options.w_ta, options.w_va),
        denominator=options.denominator,
        symmetric=options.symmetric,
        video_ids=comparison.video_ids,
    )
    return {"loss": terms.total, "loss_tv": terms.tv, "loss_ta": terms.ta, "loss_va": terms.va}

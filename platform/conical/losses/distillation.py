"""What a student with one vector per clip learns from a teacher that looks closer.

**Coarse.** With P the row-wise softmax of tau S of the student, Q that of the teacher, and P', Q' those of the
transposed matrices:

    L = mean_i d(P_i, Q_i) + mean_j d(P'_j, Q'_j),   d(p, q) = 1 - Pearson correlation of p and q

**Fine.** With c_if the teacher's cosine of text i and frame f of its clip, and w_if the student's weight of that frame:

    L = -mean_i sum_f q_if log w_if,   q_i = softmax_f(c_i)

Neither term knows negatives: what rows of one video score with each other is the teacher's to say, so nothing is
masked. The teacher gets no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor

from conical.core.options import require
from conical.losses.compared import Comparison
from conical.losses.pairs import check_scale, check_square

if TYPE_CHECKING:
    from jaxtyping import Float


def coarse_distillation(
    comparison: Comparison, *, tau: float | Float[Tensor, ""] = 100.0, teacher_tau: float = 100.0
) -> Float[Tensor, ""]:
    """Pearson distance between student's and teacher's ranking of the batch, in both directions.

    Args:
        comparison: `similarity["tv"]` of itself and of its teacher, of at least 2 rows.
        tau: scale of the student's similarities before the softmax, above 0; a scalar tensor gets a gradient.
        teacher_tau: scale of the teacher's.

    Returns:
        Scalar loss in [0, 4]: 0 where all rows and columns correlate fully.

    Raises:
        ValueError: there is no teacher, a shape or a scale is wrong.

    Source: Tian et al. 2024, "Holistic Features are almost Sufficient for Text-to-Video Retrieval" (TeachCLIP); the
        distance is that of Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher". Both scales are
        CLIP's there, which is 100.
    """
    check_scale("tau", tau)
    check_scale("teacher_tau", teacher_tau)
    teacher = _teacher(comparison).similarity["tv"].detach()
    student = comparison.similarity["tv"]
    check_square(student)
    require(
        teacher.shape == student.shape,
        f"the teacher's similarity must be of the student's shape {tuple(student.shape)}, got {tuple(teacher.shape)}",
    )
    require(len(student) > 1, "coarse distillation needs at least 2 rows in a batch, got 1: use a larger batch")
    student, teacher = tau * student, teacher_tau * teacher
    return _pearson_distance(student, teacher) + _pearson_distance(student.T, teacher.T)


def _pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the rows of 1 - correlation of their softmaxes; a row without variance correlates with none."""
    p, q = student.softmax(dim=1), teacher.softmax(dim=1)
    correlation = F.cosine_similarity(p - p.mean(dim=1, keepdim=True), q - q.mean(dim=1, keepdim=True), dim=1)
    return (1 - correlation).mean()


def fine_distillation(comparison: Comparison, *, scale: float = 1.0) -> Float[Tensor, ""]:
    """Cross-entropy of the student's frame weights under the teacher's relevance of the frames to the text.

    Args:
        comparison: the student's `videos["frame_weights"]`, (B, F) above 0 that sum to 1 in each row; the teacher's
            `texts["text"]`, (B, D), and `videos["frames"]`, (B, F, D), both of length 1.
        scale: multiplies the teacher's cosines before the softmax, above 0.

    Returns:
        Scalar loss, at least the mean entropy of the teacher's relevance.

    Raises:
        ValueError: there is no teacher, it or the student lacks these features, or a shape or the scale is wrong.

    Source: Tian et al. 2024 (TeachCLIP). The released code also divides by the number of frames: its weight of 2 is
        2 / F here.
    """
    check_scale("scale", scale)
    teacher = _teacher(comparison)
    weights = _feature(comparison.videos, "frame_weights", owner="the student's head", kind="videos")
    frames = _feature(teacher.videos, "frames", owner="the teacher's head", kind="videos").detach()
    text = _feature(teacher.texts, "text", owner="the teacher's head", kind="texts").detach()
    require(
        weights.shape == frames.shape[:2] and text.shape == (frames.shape[0], frames.shape[2]),
        f"frame_weights {tuple(weights.shape)}, frames {tuple(frames.shape)} and text {tuple(text.shape)} must be "
        "(batch, frame), (batch, frame, dim) and (batch, dim): give student and teacher the same clips",
    )
    # products and sums, no matmul: autocast would do that in bfloat16
    relevance = (scale * (frames * text[:, None]).sum(dim=2)).softmax(dim=1)
    # a weight that underflowed to 0 must not make the whole batch infinite
    log_weights = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
    return -(relevance * log_weights).sum(dim=1).mean()


def _teacher(comparison: Comparison) -> Comparison:
    require(comparison.teacher is not None, "distillation needs a teacher's comparison of the batch, got none")
    assert comparison.teacher is not None
    return comparison.teacher


def _feature(features: Mapping[str, Tensor], name: str, *, owner: str, kind: str) -> Tensor:
    require(
        name in features,
        f"fine distillation needs {name!r} of {owner}, which gives {', '.join(sorted(features)) or 'none'} of {kind}: "
        "choose a head that gives it",
    )
    return features[name]

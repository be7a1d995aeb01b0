"""Distillation against loops over rows, columns and frames; the teacher is left alone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from conical.losses.compared import Comparison
from conical.losses.distillation import coarse_distillation, fine_distillation

IDS = torch.tensor([4, 1, 4, 2, 3])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compared(similarity: torch.Tensor | None = None, *, teacher: Comparison | None = None, **features) -> Comparison:
    return Comparison(
        similarity={} if similarity is None else {"tv": similarity}, video_ids=IDS, teacher=teacher, **features
    )


def pair(seed: int = 0, batch: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return random(batch, batch, seed=seed).tanh(), random(batch, batch, seed=seed + 1).tanh()


def coarse(student: torch.Tensor, teacher: torch.Tensor, **more) -> torch.Tensor:
    return coarse_distillation(compared(student, teacher=compared(teacher)), **more)


def softmax(values: list[float], scale: float) -> list[float]:
    powers = [math.exp(scale * value) for value in values]
    return [power / sum(powers) for power in powers]


def slow_distance(p: list[float], q: list[float]) -> float:
    mean_p, mean_q = sum(p) / len(p), sum(q) / len(q)
    covariance = sum((a - mean_p) * (b - mean_q) for a, b in zip(p, q, strict=True))
    spread = math.sqrt(sum((a - mean_p) ** 2 for a in p)) * math.sqrt(sum((b - mean_q) ** 2 for b in q))
    return 1 - covariance / spread


def test_coarse_equals_the_loop_over_rows_and_columns() -> None:
    student, teacher = pair()
    expected = 0.0
    for s, t in ((student, teacher), (student.T, teacher.T)):
        distances = [slow_distance(softmax(s[i].tolist(), 3.0), softmax(t[i].tolist(), 7.0)) for i in range(5)]
        expected += sum(distances) / 5
    assert coarse(student, teacher, tau=3.0, teacher_tau=7.0).item() == pytest.approx(expected, abs=1e-12)


def test_coarse_gradient_is_right_and_the_teacher_gets_none() -> None:
    student, teacher = pair()
    inputs = (student.requires_grad_(), torch.tensor(4.0, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(lambda s, tau: coarse(s, teacher, tau=tau, teacher_tau=5.0), inputs)
    teacher.requires_grad_()
    coarse(student, teacher, tau=4.0, teacher_tau=5.0).backward()
    assert teacher.grad is None


def test_coarse_is_nothing_for_the_teacher_itself_and_at_most_four() -> None:
    student, _ = pair()
    assert coarse(student, student).item() == pytest.approx(0.0, abs=1e-9)
    # two rows, the other way round: each row and each column correlates with -1
    assert coarse(torch.eye(2), 1 - torch.eye(2)).item() == pytest.approx(4.0, abs=1e-5)


def test_coarse_does_not_see_the_order_of_rows_or_an_offset() -> None:
    (student, teacher), order = pair(), torch.tensor([3, 0, 4, 1, 2])
    expected = coarse(student, teacher, tau=5.0, teacher_tau=5.0).item()
    permuted = coarse(student[order][:, order], teacher[order][:, order], tau=5.0, teacher_tau=5.0)
    assert permuted.item() == pytest.approx(expected, abs=1e-12)
    assert coarse(student + 0.3, teacher, tau=5.0, teacher_tau=5.0).item() == pytest.approx(expected, abs=1e-12)
    assert coarse(student, 2 * teacher, tau=5.0, teacher_tau=2.5).item() == pytest.approx(expected, abs=1e-12)


def test_a_row_without_variance_correlates_with_none_and_stays_finite() -> None:
    student = torch.zeros(3, 3, requires_grad=True)
    loss = coarse(student, torch.eye(3))
    loss.backward()
    assert loss.item() == pytest.approx(2.0, abs=1e-5)
    assert torch.isfinite(student.grad).all()


def fine_pair(batch: int = 5, frames: int = 4, dim: int = 3) -> tuple[torch.Tensor, Comparison]:
    weights = random(batch, frames, seed=1).softmax(dim=1)
    features = {
        "texts": {"text": F.normalize(random(batch, dim, seed=2), dim=-1)},
        "videos": {"frames": F.normalize(random(batch, frames, dim, seed=3), dim=-1)},
    }
    return weights, compared(**features)


def fine(weights: torch.Tensor, teacher: Comparison | None, **more) -> torch.Tensor:
    return fine_distillation(compared(teacher=teacher, videos={"frame_weights": weights}), **more)


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_fine_equals_the_loop_over_frames(scale: float) -> None:
    weights, teacher = fine_pair()
    expected = 0.0
    for i in range(5):
        text, frames = teacher.texts["text"][i].tolist(), teacher.videos["frames"][i].tolist()
        cosines = [sum(a * b for a, b in zip(text, frame, strict=True)) for frame in frames]
        for q, w in zip(softmax(cosines, scale), weights[i].tolist(), strict=True):
            expected -= q * math.log(w) / 5
    assert fine(weights, teacher, scale=scale).item() == pytest.approx(expected, abs=1e-12)


def test_fine_gradient_is_right_and_pulls_to_the_teacher() -> None:
    _, teacher = fine_pair()
    scores = random(5, 4, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda scores: fine(scores.softmax(dim=1), teacher), (scores,))
    teacher.videos["frames"].requires_grad_()
    fine(scores.softmax(dim=1), teacher).backward()
    relevance = (teacher.texts["text"][:, None] * teacher.videos["frames"]).sum(dim=-1).softmax(dim=1)
    assert torch.allclose(scores.grad, (scores.softmax(dim=1) - relevance).detach() / 5)
    assert teacher.videos["frames"].grad is None


def test_fine_does_not_see_the_order_of_rows_or_of_frames() -> None:
    weights, teacher = fine_pair()
    rows, frames = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 3, 1])
    permuted = compared(
        texts={"text": teacher.texts["text"][rows]}, videos={"frames": teacher.videos["frames"][rows][:, frames]}
    )
    expected = fine(weights, teacher).item()
    assert fine(weights[rows][:, frames], permuted).item() == pytest.approx(expected, abs=1e-12)


def test_a_weight_that_underflowed_leaves_the_loss_finite() -> None:
    weights, teacher = fine_pair()
    weights[0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert math.isfinite(fine(weights, teacher).item())


def test_what_is_missing_is_named() -> None:
    student, _ = pair()
    weights, features = fine_pair()
    with pytest.raises(ValueError, match="distillation needs a teacher's comparison of the batch, got none"):
        coarse_distillation(compared(student))
    with pytest.raises(ValueError, match="distillation needs a teacher's comparison of the batch, got none"):
        fine(weights, None)
    with pytest.raises(ValueError, match="needs 'frames' of the teacher's head, which gives clip of videos"):
        fine(weights, compared(texts=features.texts, videos={"clip": weights}))
    with pytest.raises(ValueError, match="needs 'frame_weights' of the student's head, which gives none of videos"):
        fine_distillation(compared(teacher=features))


def test_wrong_shapes_and_scales_are_refused() -> None:
    student, teacher = pair()
    weights, features = fine_pair()
    with pytest.raises(ValueError, match=r"of the student's shape \(5, 5\), got \(4, 4\)"):
        coarse(student, teacher[:4, :4])
    with pytest.raises(ValueError, match="coarse distillation needs at least 2 rows in a batch, got 1"):
        coarse(student[:1, :1], teacher[:1, :1])
    with pytest.raises(ValueError, match="teacher_tau must be a finite number > 0, got 0"):
        coarse(student, teacher, teacher_tau=0)
    with pytest.raises(ValueError, match=r"frame_weights \(5, 3\), frames \(5, 4, 3\) and text \(5, 3\) must be"):
        fine(weights[:, :3], features)
    with pytest.raises(ValueError, match="scale must be a finite number > 0, got -1"):
        fine(weights, features, scale=-1)

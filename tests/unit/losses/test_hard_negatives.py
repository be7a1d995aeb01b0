"""NegNCE and the partial order against loops, at hand-made values, and where arithmetic is delicate."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from conical.losses.compared import Comparison
from conical.losses.contrastive import contrastive_term
from conical.losses.hard_negatives import neg_nce_term, neg_nce_terms, partial_order_term
from conical.losses.options import LossOptions

IDS = torch.tensor([4, 1, 4, 2, 1, 3])
MASKS = pytest.mark.parametrize("video_ids", [None, IDS], ids=["distinct", "masked"])


def scores(seed: int = 0, rows: int = 6) -> torch.Tensor:
    return 2 * torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def slow_rows(s: list[list[float]], ids: list[int], *, tau: float, margin: float, w_pos: float, w_neg: float) -> float:
    batch = len(s)
    positives, hard = [], []
    for i in range(batch):
        admitted = [k for k in range(batch) if k == i or ids[k] != ids[i]]
        total = sum(math.exp(tau * s[i][k]) for k in admitted)
        positives.append(-math.log(math.exp(tau * s[i][i]) / total))
        for j in admitted:
            if j != i and (s[i][j] > s[i][i] - margin or s[i][j] > s[j][j] - margin):
                hard.append(-math.log(1 - math.exp(tau * s[i][j]) / total))
    return w_pos * sum(positives) / batch + (w_neg * sum(hard) / len(hard) if hard else 0.0)


@MASKS
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("margin", "weights"), [(0.0, (1.0, 0.5)), (0.3, (0.7, 2.0))])
def test_neg_nce_equals_the_loop(
    video_ids: torch.Tensor | None, symmetric: bool, margin: float, weights: tuple[float, float]
) -> None:
    similarity = scores() + 0.5 * torch.eye(6)
    ids = list(range(6)) if video_ids is None else video_ids.tolist()
    numbers = {"tau": 4.0, "margin": margin, "w_pos": weights[0], "w_neg": weights[1]}
    expected = slow_rows(similarity.tolist(), ids, **numbers)
    if symmetric:
        expected = (expected + slow_rows(similarity.T.tolist(), ids, **numbers)) / 2
    term = neg_nce_term(
        similarity,
        tau=4.0,
        margin=margin,
        positive_weight=weights[0],
        negative_weight=weights[1],
        symmetric=symmetric,
        video_ids=video_ids,
    )
    assert term.item() == pytest.approx(expected, abs=1e-12)


@MASKS
def test_neg_nce_gradient_is_right_also_for_the_scale(video_ids: torch.Tensor | None) -> None:
    inputs = (scores(1).requires_grad_(), torch.tensor(5.0, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(lambda s, tau: neg_nce_term(s, tau=tau, margin=0.1, video_ids=video_ids), inputs)


@MASKS
def test_without_hard_negatives_it_is_info_nce(video_ids: torch.Tensor | None) -> None:
    similarity = 0.1 * scores() + 0.8 * torch.eye(6)
    expected = contrastive_term(similarity, tau=20.0, symmetric=True, video_ids=video_ids)
    assert neg_nce_term(similarity, tau=20.0, video_ids=video_ids).item() == pytest.approx(expected.item(), abs=1e-12)
    assert neg_nce_term(scores(), tau=20.0, negative_weight=0.0, video_ids=video_ids).item() == pytest.approx(
        contrastive_term(scores(), tau=20.0, symmetric=True, video_ids=video_ids).item(), abs=1e-12
    )


def test_a_negative_is_hard_by_its_column_too() -> None:
    # text 0 has nothing above its own 0.9, but 0.5 outscores the 0.2 of clip 1's own text
    similarity = torch.tensor([[0.9, 0.5], [-1.0, 0.2]], dtype=torch.float64)
    p = math.exp(0.5) / (math.exp(0.5) + math.exp(0.9))
    info_nce = contrastive_term(similarity, tau=1.0).item()
    term = neg_nce_term(similarity, tau=1.0, negative_weight=1.0, symmetric=False)
    assert term.item() == pytest.approx(info_nce - math.log(1 - p), abs=1e-12)


def test_the_order_of_rows_does_not_matter() -> None:
    order = torch.tensor([3, 0, 5, 4, 1, 2])
    term = neg_nce_term(scores()[order][:, order], tau=5.0, video_ids=IDS[order])
    assert term.item() == pytest.approx(neg_nce_term(scores(), tau=5.0, video_ids=IDS).item(), abs=1e-12)


def test_the_scale_multiplies_the_similarities() -> None:
    assert neg_nce_term(scores(), tau=6.0).item() == pytest.approx(
        neg_nce_term(2 * scores(), tau=3.0).item(), abs=1e-12
    )


def test_pairs_of_one_video_get_no_gradient() -> None:
    similarity = scores().requires_grad_()
    neg_nce_term(similarity, tau=5.0, video_ids=IDS).backward()
    assert similarity.grad is not None
    assert similarity.grad[0, 2] == similarity.grad[4, 1] == 0
    assert similarity.grad[0, 1] != 0


def test_a_negative_that_takes_the_whole_row_still_teaches() -> None:
    # 1 - p is exp(-200) at tau = 100: 0 in float32, yet its logarithm is -200
    similarity = (1 - 2 * torch.eye(2)).requires_grad_()
    loss = neg_nce_term(similarity, tau=100.0)
    loss.backward()
    assert loss.item() == pytest.approx(200 + 0.5 * 200, rel=1e-6)
    assert similarity.grad is not None
    # each row: -100 for the positive, and again half as much; both directions, mean over two rows
    assert similarity.grad[0, 0].item() == pytest.approx(-75.0, rel=1e-5)


@pytest.mark.parametrize("ids", [torch.tensor([7, 7, 7]), None])
def test_a_batch_without_negatives_loses_nothing(ids: torch.Tensor | None) -> None:
    rows = 3 if ids is not None else 1
    similarity = scores(2, rows).float().requires_grad_()
    loss = neg_nce_term(similarity, tau=10.0, video_ids=ids)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert similarity.grad is not None
    assert similarity.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": -1.0}, "tau must be a finite number > 0, got -1.0"),
        ({"tau": 1.0, "margin": -0.1}, "margin must be a finite number >= 0, got -0.1"),
        ({"tau": 1.0, "positive_weight": math.nan}, "positive_weight must be a finite number >= 0, got nan"),
        ({"tau": 1.0, "negative_weight": -1.0}, "negative_weight must be a finite number >= 0, got -1.0"),
        ({"tau": 1.0, "video_ids": IDS[:2]}, r"video_ids must be 6 integers.*shape \(2,\)"),
    ],
)
def test_neg_nce_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        neg_nce_term(scores(), **arguments)


def test_partial_order_equals_the_loop() -> None:
    full, weakened = scores(3, 8)[0], scores(4, 8)[0]
    expected = sum(max(0.0, 0.4 - (a - b)) for a, b in zip(full.tolist(), weakened.tolist(), strict=True)) / 8
    assert expected > 0
    assert partial_order_term(full, weakened, margin=0.4).item() == pytest.approx(expected, abs=1e-12)


def test_partial_order_teaches_the_pairs_that_are_too_close_only() -> None:
    full = torch.tensor([0.9, 0.5], requires_grad=True)
    weakened = torch.tensor([0.1, 0.4], requires_grad=True)
    partial_order_term(full, weakened).backward()
    assert full.grad.tolist() == [0.0, -0.5]
    assert weakened.grad.tolist() == [0.0, 0.5]


def test_partial_order_needs_the_difference_only() -> None:
    full, weakened = scores(3, 8)[0], scores(4, 8)[0]
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    expected = partial_order_term(full, weakened).item()
    assert partial_order_term(full[order] + 0.2, weakened[order] + 0.2).item() == pytest.approx(expected, abs=1e-12)
    assert partial_order_term(3 * full, 3 * weakened, margin=1.8).item() == pytest.approx(3 * expected, abs=1e-12)


def test_partial_order_refuses() -> None:
    with pytest.raises(ValueError, match=r"margin must be a finite number >= 0, got -0\.1"):
        partial_order_term(torch.ones(2), torch.ones(2), margin=-0.1)
    with pytest.raises(ValueError, match=r"full and weakened must both be \(batch,\), got \(2,\) and \(3,\)"):
        partial_order_term(torch.ones(2), torch.ones(3))


def test_examples_in_the_docstrings_hold() -> None:
    results = doctest.testmod(importlib.import_module("conical.losses.hard_negatives"))
    assert (results.attempted, results.failed) == (2, 0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_row_of_the_table_compares_texts_with_videos(symmetric: bool) -> None:
    comparison = Comparison(similarity={"tv": scores()}, video_ids=IDS)
    terms = neg_nce_terms(comparison, taus={"tv": 7.0}, bias=0.0, options=LossOptions(symmetric=symmetric))
    assert terms == {"loss": neg_nce_term(scores(), tau=7.0, symmetric=symmetric, video_ids=IDS)}

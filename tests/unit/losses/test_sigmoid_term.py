"""The pairwise sigmoid loss against a loop over pairs, its gradients, and what must not change it."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from conical.losses.compared import Comparison
from conical.losses.options import LossOptions
from conical.losses.sigmoid import sigmoid_term, sigmoid_terms

IDS = torch.tensor([4, 1, 4, 2, 1])


def scores(seed: int = 0, rows: int = 5) -> torch.Tensor:
    return 2 * torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def slow(similarity: list[list[float]], tau: float, bias: float, ids: list[int]) -> float:
    total = 0.0
    for i, row in enumerate(similarity):
        for j, s in enumerate(row):
            if i == j:
                total -= math.log(1 / (1 + math.exp(-(tau * s + bias))))
            elif ids[i] != ids[j]:
                total -= math.log(1 / (1 + math.exp(tau * s + bias)))
    return total / len(similarity)


@pytest.mark.parametrize("video_ids", [None, IDS], ids=["distinct", "masked"])
@pytest.mark.parametrize(("tau", "bias"), [(10.0, -10.0), (3.0, 1.5)])
def test_it_equals_the_loop_over_pairs(video_ids: torch.Tensor | None, tau: float, bias: float) -> None:
    similarity = scores()
    ids = list(range(5)) if video_ids is None else video_ids.tolist()
    expected = slow(similarity.tolist(), tau, bias, ids)
    assert sigmoid_term(similarity, tau=tau, bias=bias, video_ids=video_ids).item() == pytest.approx(
        expected, abs=1e-12
    )


def test_gradients_are_right_also_for_scale_and_bias() -> None:
    inputs = (scores(), torch.tensor(7.0, dtype=torch.float64), torch.tensor(-4.0, dtype=torch.float64))
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, tau, bias: sigmoid_term(s, tau=tau, bias=bias, video_ids=IDS), inputs)


def test_pairs_of_one_video_get_no_gradient() -> None:
    similarity = scores().requires_grad_()
    sigmoid_term(similarity, video_ids=IDS).backward()
    assert similarity.grad is not None
    assert similarity.grad[0, 2] == similarity.grad[4, 1] == 0
    assert similarity.grad[0, 0] < 0 < similarity.grad[0, 1]


def test_neither_the_order_of_rows_nor_the_direction_matters() -> None:
    similarity, order = scores(), torch.tensor([3, 0, 4, 1, 2])
    expected = sigmoid_term(similarity, video_ids=IDS).item()
    permuted = sigmoid_term(similarity[order][:, order], video_ids=IDS[order])
    assert permuted.item() == pytest.approx(expected, abs=1e-12)
    assert sigmoid_term(similarity.T, video_ids=IDS).item() == pytest.approx(expected, abs=1e-12)


def test_the_scale_multiplies_the_similarities() -> None:
    assert sigmoid_term(scores(), tau=6.0).item() == pytest.approx(
        sigmoid_term(3 * scores(), tau=2.0).item(), abs=1e-12
    )


def test_one_pair_is_a_question_of_its_own() -> None:
    # log(1 + exp(-(2 * 0.5 + 1)))
    assert sigmoid_term(torch.tensor([[0.5]]), tau=2.0, bias=1.0).item() == pytest.approx(math.log1p(math.exp(-2)))


def test_extreme_logits_stay_finite() -> None:
    similarity = (1 - 2 * torch.eye(3)).requires_grad_()
    loss = sigmoid_term(similarity, tau=100.0, bias=100.0)
    loss.backward()
    # each positive gives log 2 (its logit is 0), each of the two negatives of a row 200
    assert loss.item() == pytest.approx(math.log(2) + 400, rel=1e-6)
    assert torch.isfinite(similarity.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.0}, "tau must be a finite number > 0, got 0.0"),
        ({"tau": torch.ones(1)}, r"tau must be a number or a scalar tensor, got shape \(1,\)"),
        ({"bias": math.inf}, "bias must be a finite number, got inf"),
        ({"bias": torch.ones(2)}, r"bias must be a number or a scalar tensor, got shape \(2,\)"),
        ({"video_ids": torch.zeros(5)}, "video_ids must be 5 integers, one per row, got torch.float32"),
        ({"video_ids": IDS[:4]}, r"video_ids must be 5 integers.*shape \(4,\)"),
    ],
)
def test_it_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sigmoid_term(scores(), **arguments)


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match=r"similarity must be \(batch, batch\) with batch >= 1, got \(5, 4\)"):
        sigmoid_term(scores()[:, :4])


def test_the_example_holds() -> None:
    results = doctest.testmod(importlib.import_module("conical.losses.sigmoid"))
    assert (results.attempted, results.failed) == (2, 0)


def test_the_row_of_the_table_compares_texts_with_videos() -> None:
    comparison = Comparison(similarity={"tv": scores()}, video_ids=IDS)
    terms = sigmoid_terms(comparison, taus={"tv": 7.0}, bias=-3.0, options=LossOptions())
    assert terms == {"loss": sigmoid_term(scores(), tau=7.0, bias=-3.0, video_ids=IDS)}

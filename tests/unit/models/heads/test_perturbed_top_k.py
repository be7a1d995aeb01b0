"""The differentiable choice of patches against loops, against the closed form of two items, and at its limits."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from conical.models.heads.perturbed_top_k import _noise, perturbed_top_k


def scores(rows: int = 3, items: int = 5, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(rows, items, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_choices(row: list[float], k: int, num_samples: int, sigma: float) -> list[list[int]]:
    """The chosen items of each sample, in the items' order."""
    choices = []
    for sample in _noise(num_samples, len(row)).double().tolist():
        noisy = [score + sigma * z for score, z in zip(row, sample, strict=True)]
        choices.append(sorted(sorted(range(len(row)), key=lambda item: -noisy[item])[:k]))
    return choices


def test_it_equals_the_loop_over_samples() -> None:
    chosen = perturbed_top_k(scores(), 2, num_samples=40, sigma=0.1)
    for r, row in enumerate(scores().tolist()):
        expected = torch.zeros(2, 5, dtype=torch.float64)
        for choice in slow_choices(row, 2, 40, 0.1):
            for slot, item in enumerate(choice):
                expected[slot, item] += 1 / 40
        assert torch.allclose(chosen[r], expected, atol=1e-12)


def test_the_gradient_equals_the_loop_over_samples() -> None:
    inputs, upstream = scores().requires_grad_(), torch.randn(3, 2, 5, dtype=torch.float64)
    perturbed_top_k(inputs, 2, num_samples=40, sigma=0.1).backward(upstream)
    noise = _noise(40, 5).tolist()
    for r, row in enumerate(scores().tolist()):
        choices = slow_choices(row, 2, 40, 0.1)
        losses = [sum(upstream[r, slot, item].item() for slot, item in enumerate(choice)) for choice in choices]
        mean = sum(losses) / 40
        for item in range(5):
            expected = sum((loss - mean) * z[item] for loss, z in zip(losses, noise, strict=True)) / (39 * 0.1)
            assert inputs.grad[r, item].item() == pytest.approx(expected, abs=1e-10)


def test_two_items_follow_the_normal_distribution_and_its_density() -> None:
    # the first of two is chosen where its lead is above the noise, whose variance is 2 sigma^2
    inputs = torch.tensor([[0.05, 0.0]], dtype=torch.float64, requires_grad=True)
    sigma, lead = 0.1, 0.05 / (0.1 * math.sqrt(2))
    chosen = perturbed_top_k(inputs, 1, num_samples=50_000, sigma=sigma)
    assert chosen[0, 0, 0].item() == pytest.approx((1 + math.erf(lead / math.sqrt(2))) / 2, abs=0.01)
    chosen[0, 0, 0].backward()
    density = math.exp(-(lead**2) / 2) / math.sqrt(2 * math.pi) / (sigma * math.sqrt(2))
    assert inputs.grad[0].tolist() == pytest.approx([density, -density], rel=0.05)


def test_a_loss_that_does_not_depend_on_the_choice_gives_no_gradient() -> None:
    inputs = scores().requires_grad_()
    (3 * perturbed_top_k(inputs, 2)).sum().backward()
    assert inputs.grad.abs().max() < 1e-10


def test_each_slot_is_a_distribution_and_no_item_is_chosen_twice() -> None:
    chosen = perturbed_top_k(scores(), 3)
    assert torch.allclose(chosen.sum(dim=2), torch.ones(3, 3, dtype=torch.float64))
    assert chosen.sum(dim=1).max() <= 1 + 1e-9
    assert torch.allclose(perturbed_top_k(scores(), 5), torch.eye(5, dtype=torch.float64).expand(3, 5, 5))


def test_far_apart_scores_are_chosen_for_certain_and_in_the_order_of_items() -> None:
    chosen = perturbed_top_k(torch.tensor([[5.0, 0.0, 9.0, 1.0]]), 2)
    assert torch.equal(chosen, torch.eye(4)[[0, 2]][None])


def test_rows_are_independent_and_calls_agree() -> None:
    whole = perturbed_top_k(scores(), 2)
    assert torch.equal(whole, perturbed_top_k(scores(), 2))
    order = torch.tensor([2, 0, 1])
    assert torch.equal(perturbed_top_k(scores()[order], 2), whole[order])
    assert torch.equal(perturbed_top_k(scores()[1:2], 2), whole[1:2])


def test_it_leaves_the_global_random_state_alone() -> None:
    _noise.cache_clear()
    before = torch.get_rng_state()
    perturbed_top_k(scores(), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("k", "settings", "message"),
    [
        (0, {}, r"k must be in \[1, 5\], the number of items, got 0"),
        (6, {}, r"k must be in \[1, 5\], the number of items, got 6"),
        (2, {"num_samples": 1}, "num_samples must be >= 2, got 1"),
        (2, {"sigma": 0.0}, "sigma must be a finite number > 0, got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(k: int, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        perturbed_top_k(scores(), k, **settings)


def test_the_example_holds() -> None:
    results = doctest.testmod(importlib.import_module("conical.models.heads.perturbed_top_k"))
    assert (results.attempted, results.failed) == (1, 0)

"""The losses against a slow reference, their gradients, and what must not change them."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeException

from conical.losses import ceo, ceo_loss, contrastive, info_nce

IDS = torch.tensor([4, 1, 4, 2, 1, 3])
CHOICES = pytest.mark.parametrize("denominator", ["negatives", "all"])
BOTH = pytest.mark.parametrize("symmetric", [False, True])
MASKS = pytest.mark.parametrize("video_ids", [None, IDS], ids=["distinct", "masked"])


def embeddings(seed: int, rows: int = 6, dim: int = 4) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_term(query: np.ndarray, gallery: np.ndarray, tau: float, denominator: str, ids: list[int]) -> float:
    """The equation, a sum at a time."""
    losses = []
    for i, q in enumerate(query):

        def similarity(j: int, q: np.ndarray = q) -> float:
            return float(q @ gallery[j]) / (math.sqrt(q @ q) * math.sqrt(gallery[j] @ gallery[j]))

        total = 0.0
        for j in range(len(gallery)):
            if ids[j] != ids[i]:
                total += math.exp(tau * similarity(j))
        if denominator == "all":
            total += math.exp(tau * similarity(i))
        losses.append(-math.log(math.exp(tau * similarity(i)) / total))
    return sum(losses) / len(losses)


@CHOICES
@BOTH
@MASKS
def test_ceo_equals_the_slow_reference(denominator: str, symmetric: bool, video_ids: torch.Tensor | None) -> None:
    text, video, copy = (embeddings(seed) for seed in range(3))
    terms = ceo_loss(
        text,
        video,
        copy,
        tau_tv=3.0,
        tau_ta=5.0,
        tau_va=8.0,
        weights=(1.0, 0.7, 0.2),
        denominator=denominator,
        symmetric=symmetric,
        video_ids=video_ids,
    )
    ids = list(range(6)) if video_ids is None else video_ids.tolist()

    def slow(query: torch.Tensor, gallery: torch.Tensor, tau: float) -> float:
        one = slow_term(query.numpy(), gallery.numpy(), tau, denominator, ids)
        other = slow_term(gallery.numpy(), query.numpy(), tau, denominator, ids)
        return (one + other) / 2 if symmetric else one

    tv, ta, va = slow(text, video, 3.0), slow(text, copy, 5.0), slow(video, copy, 8.0)
    assert terms.tv.item() == pytest.approx(tv, abs=1e-10)
    assert terms.ta.item() == pytest.approx(ta, abs=1e-10)
    assert terms.va.item() == pytest.approx(va, abs=1e-10)
    assert terms.total.item() == pytest.approx(tv + 0.7 * ta + 0.2 * va, abs=1e-10)


@CHOICES
@BOTH
@MASKS
def test_ceo_gradient_is_right_also_for_the_scales(
    denominator: str, symmetric: bool, video_ids: torch.Tensor | None
) -> None:
    inputs = [embeddings(seed).requires_grad_() for seed in range(3)]
    inputs += [torch.tensor(tau, dtype=torch.float64, requires_grad=True) for tau in (2.0, 3.0, 4.0)]

    def total(*given: torch.Tensor) -> torch.Tensor:
        text, video, copy, tau_tv, tau_ta, tau_va = given
        scales = {"tau_tv": tau_tv, "tau_ta": tau_ta, "tau_va": tau_va}
        choices = {"denominator": denominator, "symmetric": symmetric, "video_ids": video_ids}
        return ceo_loss(text, video, copy, **scales, **choices).total

    assert torch.autograd.gradcheck(total, inputs)


@CHOICES
@MASKS
def test_info_nce_gradient_is_right(denominator: str, video_ids: torch.Tensor | None) -> None:
    inputs = [embeddings(seed).requires_grad_() for seed in range(2)]

    def loss(query: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
        return info_nce(query, gallery, tau=6.0, denominator=denominator, video_ids=video_ids)

    assert torch.autograd.gradcheck(loss, inputs)


def test_a_batch_of_one_video_gives_zero_under_all_with_a_finite_gradient() -> None:
    query, gallery = embeddings(0, rows=3).requires_grad_(), embeddings(1, rows=3)
    ids = torch.tensor([1, 1, 1])
    loss = info_nce(query, gallery, tau=2.0, denominator="all", video_ids=ids)
    loss.backward()
    assert loss.item() == 0
    assert query.grad is not None
    assert torch.isfinite(query.grad).all()
    assert query.grad.abs().max() < 1e-15


@CHOICES
@BOTH
def test_the_order_of_the_batch_does_not_matter(denominator: str, symmetric: bool) -> None:
    query, gallery = embeddings(0), embeddings(1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    choices = {"tau": 9.0, "denominator": denominator, "symmetric": symmetric}
    straight = info_nce(query, gallery, video_ids=IDS, **choices)
    shuffled = info_nce(query[order], gallery[order], video_ids=IDS[order], **choices)
    assert shuffled.item() == pytest.approx(straight.item(), abs=1e-12)


@CHOICES
def test_the_length_of_an_embedding_does_not_matter(denominator: str) -> None:
    query, gallery = embeddings(0), embeddings(1)
    factors = torch.tensor([[0.1], [1.0], [30.0], [2.0], [5.0], [0.5]], dtype=torch.float64)
    straight = info_nce(query, gallery, tau=9.0, denominator=denominator)
    assert info_nce(query * factors, gallery, tau=9.0, denominator=denominator).item() == pytest.approx(
        straight.item(), abs=1e-12
    )


def test_names_of_videos_do_not_matter_only_who_shares_one() -> None:
    query, gallery = embeddings(0), embeddings(1)
    renamed = info_nce(query, gallery, tau=9.0, video_ids=IDS * 1_000_003 - 7)
    assert renamed.item() == info_nce(query, gallery, tau=9.0, video_ids=IDS).item()


def test_embeddings_that_are_all_the_same_lose_the_logarithm_of_the_candidates() -> None:
    same = torch.ones(6, 4, dtype=torch.float64)
    assert info_nce(same, same, tau=50.0, denominator="all").item() == pytest.approx(math.log(6), abs=1e-9)
    assert info_nce(same, same, tau=50.0, denominator="negatives").item() == pytest.approx(math.log(5), abs=1e-9)


def with_checked_shapes(module: object, name: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """The function with its annotations enforced; the package itself never imports jaxtyping at run time."""
    for shape in ("Float", "Int", "Bool"):
        monkeypatch.setattr(module, shape, getattr(jaxtyping, shape), raising=False)
    return jaxtyping.jaxtyped(typechecker=beartype)(getattr(module, name))


def test_shapes_are_what_the_annotations_say(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (embeddings(0), embeddings(1))
    info_nce_module = importlib.import_module("conical.losses.infonce")
    info_nce_checked = with_checked_shapes(info_nce_module, "info_nce", monkeypatch)
    assert info_nce_checked(*arguments, tau=torch.tensor(2.0), video_ids=IDS).ndim == 0
    with pytest.raises((jaxtyping.TypeCheckError, BeartypeException)):
        info_nce_checked(embeddings(0), embeddings(1, rows=5), tau=2.0)
    ceo_checked = with_checked_shapes(ceo, "ceo_loss", monkeypatch)
    assert ceo_checked(*arguments, embeddings(2), tau_tv=1.0, tau_ta=1.0, tau_va=1.0).total.ndim == 0
    similarity_checked = with_checked_shapes(contrastive, "cosine_similarity", monkeypatch)
    assert similarity_checked(embeddings(0), embeddings(1, rows=3)).shape == (6, 3)
    term_checked = with_checked_shapes(contrastive, "contrastive_term", monkeypatch)
    assert term_checked(torch.eye(6), tau=2.0, video_ids=IDS).ndim == 0


def test_the_package_gives_functions_whatever_was_imported_before() -> None:
    import conical.losses

    modules = {path.stem for path in Path(conical.losses.__file__).parent.glob("*.py")}
    assert modules & set(conical.losses.__all__) == set()
    assert callable(conical.losses.info_nce)

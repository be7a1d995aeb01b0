"""The table of losses: every row runs by the one convention, and a card from outside is a row."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from conical.config import load_experiment
from conical.core.errors import ConfigError
from conical.engine.objective import Objective
from conical.losses import LOSSES, Comparison, LossCard, LossOptions, ceo_loss, cosine_similarity, info_nce
from unit.engine.engine_factory import batch_plan

IDS = torch.tensor([0, 1, 2, 0])


def embeddings(seed: int) -> torch.Tensor:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def compare(text, video, copy, terms) -> Comparison:
    pairs = {"tv": (text, video), "ta": (text, copy), "va": (video, copy)}
    similarity = {term: cosine_similarity(*pairs[term]) for term in terms}
    return Comparison(similarity=similarity, video_ids=IDS, texts={"text": text}, videos={"clip": video})


@pytest.mark.parametrize("name", LOSSES)
def test_each_row_is_complete_and_keeps_the_convention(name: str) -> None:
    card = LOSSES[name]
    assert card.name == name
    assert card.title
    assert card.summary
    assert card.source
    text, video, copy = (embeddings(seed) for seed in range(3))
    options = LossOptions(name=name, denominator="all", symmetric=False)
    taus = dict.fromkeys(card.terms, 5.0)
    terms = card.function(compare(text, video, copy, card.terms), taus=taus, bias=-10.0, options=options)
    assert all(value.ndim == 0 for value in terms.values())
    terms["loss"].backward()
    assert text.grad is not None
    assert (copy.grad is not None) == card.needs_copies


def test_the_rows_give_what_the_plain_functions_give() -> None:
    text, video, copy = (embeddings(seed) for seed in range(3))
    shared = {"denominator": "negatives", "symmetric": True}
    taus = {"tv": 3.0, "ta": 5.0, "va": 7.0}
    options = LossOptions(w_tv=1.0, w_ta=0.5, w_va=2.0, **shared)
    whole = compare(text, video, copy, ("tv", "ta", "va"))
    terms = LOSSES["ceo"].function(whole, taus=taus, bias=0.0, options=options)
    weights = (1.0, 0.5, 2.0)
    plain = ceo_loss(text, video, copy, tau_tv=3.0, tau_ta=5.0, tau_va=7.0, weights=weights, video_ids=IDS, **shared)
    assert terms == {"loss": plain.total, "loss_tv": plain.tv, "loss_ta": plain.ta, "loss_va": plain.va}
    terms = LOSSES["info_nce"].function(whole, taus=taus, bias=0.0, options=options)
    assert terms == {"loss": info_nce(text, video, tau=3.0, video_ids=IDS, **shared)}


def test_reports_know_one_baseline() -> None:
    assert [name for name, card in LOSSES.items() if card.is_baseline] == ["info_nce"]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the user's with a loss that returns what it was called with."""
    module = ModuleType("lab_of_losses")

    def call(comparison, **settings):
        module.seen = (comparison, settings)
        text, video = comparison.texts["text"], comparison.videos["clip"]
        return {"loss": (text - video).square().sum(), "loss_tv": comparison.similarity["tv"].sum()}

    module.CARD = LossCard(name="squares", title="Squares", summary="s", source="us", terms=("tv",), call=call)
    module.NUMBER = 3
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_card_from_outside_is_trained_with_its_own_terms_only(lab: ModuleType, small_encoder) -> None:
    experiment = load_experiment(None, ["loss.name=lab_of_losses:CARD", "loss.w_tv=0.5"])
    assert experiment.title.startswith("Squares, ")
    objective = Objective(small_encoder, experiment.loss)
    batch = next(iter(batch_plan().batches(0)))
    assert set(objective(batch)) == {"loss", "loss_tv"}
    comparison, settings = lab.seen
    assert {term: tuple(scores.shape) for term, scores in comparison.similarity.items()} == {"tv": (4, 4)}
    assert comparison.texts["text"].shape == comparison.videos["clip"].shape == (4, 16)
    assert comparison.video_ids.tolist() == batch.video.tolist()
    assert settings == {"taus": {"tv": 20.0}, "bias": -10.0, "options": experiment.loss}


def test_scales_are_learnt_for_the_terms_of_the_loss_alone(small_encoder) -> None:
    def names(options):
        return set(Objective(small_encoder, options).scales)

    assert names(LossOptions(is_learnable=True)) == {"tau_tv", "tau_ta", "tau_va"}
    assert names(LossOptions(name="info_nce", is_learnable=True)) == {"tau_tv"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lab_of_losses:NUMBER", r"loss.name 'lab_of_losses:NUMBER' must lead to a LossCard, got int: see docs/adding"),
        ("lab_of_losses:GONE", "loss 'lab_of_losses:GONE' cannot be imported: .*has no attribute 'GONE'"),
        ("no_such_lab:CARD", "loss 'no_such_lab:CARD' cannot be imported: No module named 'no_such_lab'"),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(lab: ModuleType, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_experiment(None, [f"loss.name={name}"])
    assert "\n" not in str(refused.value)


def test_a_weight_of_zero_is_refused_for_a_loss_of_that_term_alone(lab: ModuleType) -> None:
    with pytest.raises(ValueError, match="w_tv must be > 0 for lab_of_losses:CARD, which has no other term; got 0"):
        LossOptions(name="lab_of_losses:CARD", w_tv=0.0)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ((), "terms of loss 'x' must name at least one of tv, ta, va, got none"),
        (("tv", "av"), "terms of loss 'x' must be one of tv, ta, va; got 'av'"),
    ],
)
def test_a_card_with_impossible_terms_is_refused(terms: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossCard(name="x", title="X", summary="s", source="s", terms=terms, call="m:f")

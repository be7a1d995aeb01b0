"""The losses against arithmetic done by hand, and each refusal."""

from __future__ import annotations

import math

import pytest
import torch

from conical.losses import LogitScale, LossOptions, ceo_loss, contrastive_term, cosine_similarity, info_nce

# 4 x 4 similarities; at tau = log(2) each exp(tau s) is 2**s, so that sums can be done by hand
SIMILARITY = torch.tensor(
    [
        [3.0, 1.0, 0.0, 2.0],
        [0.0, 2.0, 1.0, 1.0],
        [1.0, 1.0, 1.0, 0.0],
        [2.0, 0.0, 2.0, 4.0],
    ],
    dtype=torch.float64,
)
LOG2 = math.log(2)


def test_negatives_leave_the_positive_out_of_the_denominator() -> None:
    # rows, 2**s over j != i:  2+1+4 = 7 over 8;  1+2+2 = 5 over 4;  2+2+1 = 5 over 2;  4+1+4 = 9 over 16
    expected = (math.log(7 / 8) + math.log(5 / 4) + math.log(5 / 2) + math.log(9 / 16)) / 4
    term = contrastive_term(SIMILARITY, tau=LOG2, denominator="negatives")
    assert term.item() == pytest.approx(expected, abs=1e-12)


def test_all_puts_the_positive_into_the_denominator() -> None:
    # rows: 15 over 8;  9 over 4;  7 over 2;  25 over 16
    expected = (math.log(15 / 8) + math.log(9 / 4) + math.log(7 / 2) + math.log(25 / 16)) / 4
    assert contrastive_term(SIMILARITY, tau=LOG2, denominator="all").item() == pytest.approx(expected, abs=1e-12)


def test_symmetric_averages_rows_with_columns() -> None:
    rows = math.log(7 / 8) + math.log(5 / 4) + math.log(5 / 2) + math.log(9 / 16)
    # columns over i != j:  1+2+4 = 7 over 8;  2+2+1 = 5 over 4;  1+2+4 = 7 over 2;  4+2+1 = 7 over 16
    columns = math.log(7 / 8) + math.log(5 / 4) + math.log(7 / 2) + math.log(7 / 16)
    term = contrastive_term(SIMILARITY, tau=LOG2, denominator="negatives", symmetric=True)
    assert term.item() == pytest.approx((rows + columns) / 8, abs=1e-12)


def test_rows_of_one_video_are_not_pushed_apart() -> None:
    # rows 0 and 3 are one video: 2+1 = 3 over 8;  5 over 4;  5 over 2;  1+4 = 5 over 16
    expected = (math.log(3 / 8) + math.log(5 / 4) + math.log(5 / 2) + math.log(5 / 16)) / 4
    ids = torch.tensor([7, 8, 9, 7])
    term = contrastive_term(SIMILARITY, tau=LOG2, denominator="negatives", video_ids=ids)
    assert term.item() == pytest.approx(expected, abs=1e-12)


def test_rows_of_one_video_keep_their_positive_under_all() -> None:
    # 3+8 = 11 over 8;  9 over 4;  7 over 2;  5+16 = 21 over 16
    expected = (math.log(11 / 8) + math.log(9 / 4) + math.log(7 / 2) + math.log(21 / 16)) / 4
    term = contrastive_term(SIMILARITY, tau=LOG2, denominator="all", video_ids=torch.tensor([7, 8, 9, 7]))
    assert term.item() == pytest.approx(expected, abs=1e-12)


def test_masked_pairs_get_no_gradient() -> None:
    similarity = SIMILARITY.clone().requires_grad_()
    contrastive_term(similarity, tau=1.0, denominator="negatives", video_ids=torch.tensor([7, 8, 9, 7])).backward()
    assert similarity.grad is not None
    assert similarity.grad[0, 3] == 0
    assert similarity.grad[3, 0] == 0
    assert similarity.grad[0, 1] > 0


def test_ceo_total_is_the_weighted_sum_of_its_terms() -> None:
    text, video, copy = (torch.randn(5, 3, generator=torch.Generator().manual_seed(n)) for n in range(3))
    terms = ceo_loss(text, video, copy, tau_tv=5.0, tau_ta=7.0, tau_va=11.0, weights=(1.0, 0.5, 2.0))
    assert terms.tv == pytest.approx(info_nce(text, video, tau=5.0, denominator="negatives").item(), abs=1e-6)
    assert terms.ta == pytest.approx(info_nce(text, copy, tau=7.0, denominator="negatives").item(), abs=1e-6)
    assert terms.va == pytest.approx(info_nce(video, copy, tau=11.0, denominator="negatives").item(), abs=1e-6)
    assert terms.total == pytest.approx((terms.tv + 0.5 * terms.ta + 2.0 * terms.va).item(), abs=1e-6)


def test_terms_print_numbers_and_no_tensors() -> None:
    terms = ceo_loss(torch.eye(3), torch.eye(3), torch.eye(3), tau_tv=1.0, tau_ta=1.0, tau_va=1.0)
    # each row: log(2 exp(0)) - 1 = log 2 - 1 = -0.3069
    assert repr(terms) == "CeoTerms(total=-0.9206, tv=-0.3069, ta=-0.3069, va=-0.3069)"


def test_a_batch_of_one_loses_nothing_under_all() -> None:
    assert info_nce(torch.ones(1, 4), torch.ones(1, 4), tau=50.0).item() == pytest.approx(0.0, abs=1e-6)


def test_similarity_is_float32_under_bfloat16_autocast() -> None:
    embeddings = torch.nn.functional.normalize(torch.randn(6, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = cosine_similarity(embeddings, embeddings)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, cosine_similarity(embeddings, embeddings))


def test_half_precision_embeddings_are_widened() -> None:
    assert cosine_similarity(torch.ones(2, 4).bfloat16(), torch.ones(2, 4).bfloat16()).dtype == torch.float32


def test_large_scales_do_not_overflow() -> None:
    # exp(100) is beyond float32: 0 - tau in each row, exactly
    assert info_nce(torch.eye(3), -torch.eye(3), tau=100.0, denominator="negatives").item() == pytest.approx(
        100 + math.log(2), rel=1e-6
    )


def test_logit_scale_starts_where_it_is_told_and_gets_the_gradient_of_the_logarithm() -> None:
    scale = LogitScale(20.0)
    (3 * scale()).backward()
    # d(3 exp(l)) / dl = 3 exp(l)
    assert scale.log_scale.grad == pytest.approx(60.0, rel=1e-5)


@pytest.mark.parametrize(("pushed", "bound", "way_back"), [(20.0, 100.0, 1.0), (-5.0, 1.0, -1.0)])
def test_logit_scale_is_kept_in_range_and_can_leave_the_bound(pushed: float, bound: float, way_back: float) -> None:
    scale = LogitScale(20.0)
    with torch.no_grad():
        scale.log_scale.fill_(pushed)
    assert scale().item() == pytest.approx(bound, rel=1e-5)
    optimiser = torch.optim.SGD(scale.parameters(), lr=0.1 / bound)
    (way_back * scale()).backward()
    optimiser.step()
    assert scale().item() == pytest.approx(bound * math.exp(-0.1 * way_back), rel=1e-4)


def test_logit_scale_refuses_a_value_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"scale must be in \[1, 100\], got 0.5"):
        LogitScale(0.5)


def test_a_learnable_scale_gets_a_gradient_through_the_loss() -> None:
    scale = LogitScale(10.0)
    info_nce(torch.eye(3), torch.eye(3), tau=scale(), denominator="negatives").backward()
    # the loss is log(2) - tau, so d/dl = -tau
    assert scale.log_scale.grad == pytest.approx(-10.0, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.0}, "tau must be a finite number > 0, got 0.0"),
        ({"tau": math.nan}, "tau must be a finite number > 0, got nan"),
        ({"tau": torch.ones(2)}, r"tau must be a number or a scalar tensor, got shape \(2,\)"),
        ({"tau": 1.0, "denominator": "al"}, "denominator must be one of negatives, all; got 'al'. Did you mean 'all'"),
        ({"tau": 1.0, "video_ids": torch.zeros(3)}, r"video_ids must be 4 integers, one per row, got torch.float32"),
        ({"tau": 1.0, "video_ids": torch.zeros(3, dtype=torch.long)}, r"video_ids must be 4 integers.*shape \(3,\)"),
    ],
)
def test_contrastive_term_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contrastive_term(SIMILARITY, **arguments)


@pytest.mark.parametrize("video_ids", [None, torch.tensor([5, 5, 5, 5])])
def test_a_batch_without_negatives_is_refused(video_ids: torch.Tensor | None) -> None:
    similarity = SIMILARITY if video_ids is not None else SIMILARITY[:1, :1]
    with pytest.raises(ValueError, match="denominator 'negatives' needs rows of at least 2 videos in a batch"):
        contrastive_term(similarity, tau=1.0, denominator="negatives", video_ids=video_ids)


def test_a_similarity_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match=r"similarity must be \(batch, batch\) with batch >= 1, got \(4, 3\)"):
        contrastive_term(SIMILARITY[:, :3], tau=1.0)


def test_embeddings_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"query and gallery must both be \(batch, dim\), got \(4, 3\) and \(5, 3\)"):
        info_nce(torch.ones(4, 3), torch.ones(5, 3), tau=1.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.0, 0.0, 0.0), "w_tv, w_ta and w_va are all 0: nothing would be trained"),
        ((1.0, -1.0, 0.0), "w_ta must be a finite number >= 0, got -1.0"),
        ((1.0, 1.0, math.nan), "w_va must be a finite number >= 0, got nan"),
    ],
)
def test_ceo_refuses_impossible_weights(weights: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ceo_loss(torch.eye(2), torch.eye(2), torch.eye(2), tau_tv=1.0, tau_ta=1.0, tau_va=1.0, weights=weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cea"}, "name must be one of ceo, info_nce, sigmoid, dmae; got 'cea'. Did you mean 'ceo'"),
        ({"denominator": "none"}, "denominator must be one of negatives, all; got 'none'"),
        ({"tau_va": 101.0}, r"tau_va must be in \[1, 100\], got 101.0"),
        ({"tau_tv": math.nan}, r"tau_tv must be in \[1, 100\], got nan"),
        ({"w_ta": -0.1}, "w_ta must be a finite number >= 0, got -0.1"),
        ({"w_tv": 0.0, "w_ta": 0.0, "w_va": 0.0}, "are all 0"),
        ({"name": "info_nce", "w_tv": 0.0}, "w_tv must be > 0 for info_nce"),
    ],
)
def test_loss_options_refuse(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossOptions(**options)


def test_loss_options_default_to_the_talk() -> None:
    options = LossOptions()
    assert (options.name, options.denominator, options.symmetric) == ("ceo", "negatives", False)

"""The loop: it learns, keeps the best epoch, and a resumed run equals an undisturbed one."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from conical.core.errors import ConicalError, StoreError
from conical.engine.checkpoint import RunState
from conical.engine.loop import train
from conical.engine.objective import Objective
from conical.engine.optimiser import build_optimiser, learning_rate_at
from conical.engine.options import OptimOptions
from conical.engine.selection import ValScore
from conical.losses import LossOptions
from conical.metrics import Ranking
from conical.models.weight_files import read_encoder_state
from conical.store import RankedQueries
from unit.engine.engine_factory import batch_plan

METRIC = "val/raw/t2v/R1"


@pytest.fixture
def new_encoder(loaded_small_encoder):
    """Gives a fresh encoder with the same weights each time."""
    return lambda: copy.deepcopy(loaded_small_encoder)


def run(
    new_encoder,
    *,
    epochs=3,
    values=None,
    folder=None,
    resume_from=None,
    loss=None,
    rate=1e-3,
    keep_ranks=False,
    metric=METRIC,
):
    """Train and return (objective, state, reports); checkpoints of each epoch go below `folder`."""
    torch.manual_seed(0)
    objective = Objective(new_encoder(), loss or LossOptions(tau_tv=10, tau_ta=10, tau_va=10))
    reports = []
    scores = iter(values or range(100))

    def report(epoch):
        reports.append(epoch)
        if folder is not None:
            epoch.save(folder / str(epoch.epoch))

    def score_val():
        value = next(scores)
        return ValScore(values={metric: float(value)}, ranked=ranked(value) if keep_ranks else None)

    state = train(
        objective,
        batch_plan(),
        OptimOptions(epochs=epochs, batch_size=4, learning_rate=rate),
        score_val=score_val,
        select_metric=metric,
        report=report,
        resume_from=resume_from,
    )
    return objective, state, reports


@pytest.mark.parametrize(
    "loss", [LossOptions(), LossOptions(name="info_nce", denominator="all"), LossOptions(is_learnable=True)]
)
def test_the_loss_falls(new_encoder, loss):
    _, _, reports = run(new_encoder, epochs=12, loss=loss)
    first, last = (sum(row["loss"] for row in report.step_metrics) for report in (reports[1], reports[-1]))
    assert last < first


def test_reports_start_with_the_model_as_loaded_and_count_steps(new_encoder):
    _, state, reports = run(new_encoder)
    assert [report.epoch for report in reports] == [0, 1, 2, 3]
    assert [row["step"] for report in reports for row in report.step_metrics] == [0, 1, 2, 3, 4, 5]
    assert state.steps_done == reports[-1].total_steps == 6
    assert 0 <= reports[-1].waiting_share <= 1


def test_the_best_epoch_on_val_is_what_remains(new_encoder, tmp_path):
    objective, state, _ = run(new_encoder, values=[1, 5, 3, 2], folder=tmp_path)
    assert state == RunState(epochs_done=3, steps_done=6, best_epoch=1, best_value=5.0)
    best, _, _ = run(new_encoder, epochs=3, values=[1, 5, 3, 2], resume_from=tmp_path / "1")
    for kept, expected in zip(objective.encoder.state_dict().values(), best.encoder.state_dict().values(), strict=True):
        assert torch.equal(kept, expected)


@pytest.mark.parametrize(
    ("metric", "best_epoch"), [("R1", 1), ("R5", 1), ("R10", 1), ("MedR", 2), ("MeanR", 2)], ids=str
)
def test_the_epoch_that_is_kept_has_the_highest_recall_or_the_lowest_rank(new_encoder, tmp_path, metric, best_epoch):
    # of the equal best values, 5 and 5 or 1 and 1, the earlier epoch stays
    values = [3, 5, 1, 5, 1]
    name = f"val/raw/t2v/{metric}"
    objective, state, _ = run(new_encoder, epochs=4, values=values, folder=tmp_path, metric=name)
    assert (state.best_epoch, state.best_value) == (best_epoch, float(values[best_epoch]))
    kept = read_encoder_state(objective.encoder, tmp_path / str(best_epoch) / "best" / "encoder.safetensors")
    assert kept.keys() == objective.encoder.state_dict().keys()
    assert all(torch.equal(tensor, kept[key]) for key, tensor in objective.encoder.state_dict().items())
    # a restart in between chooses the same
    _, resumed, _ = run(new_encoder, epochs=4, values=values[2:], resume_from=tmp_path / "1", metric=name)
    assert resumed == state


def test_a_rank_that_only_grows_keeps_the_model_as_loaded(new_encoder):
    _, state, _ = run(new_encoder, values=[1, 2, 3, 4], metric="val/raw/t2v/MeanR")
    assert (state.best_epoch, state.best_value) == (0, 1.0)


def ranked(number: int) -> RankedQueries:
    ones = np.ones(1, np.int64)
    ranking = Ranking(better=number * ones, tied=0 * ones, positives_tied=ones, num_gallery=20)
    return RankedQueries(ranking=ranking, groups=0 * ones)


def kept_rank(folder) -> int:
    """Of the best encoder in a checkpoint."""
    return RankedQueries.read(folder / "best" / "val_ranking.npz").ranking.better.item()


def test_the_ranks_of_the_best_epoch_are_kept_and_survive_a_restart(new_encoder, tmp_path):
    # epoch 1 is the best; a run resumed after it must not put a later epoch's ranks beside its encoder
    run(new_encoder, values=[1, 5, 3, 2], folder=tmp_path, keep_ranks=True)
    assert [kept_rank(tmp_path / str(epoch)) for epoch in range(4)] == [1, 5, 5, 5]
    run(new_encoder, values=[3, 2], folder=tmp_path / "again", resume_from=tmp_path / "1", keep_ranks=True)
    assert kept_rank(tmp_path / "again" / "3") == 5


def test_a_model_that_only_gets_worse_is_kept_as_loaded(new_encoder):
    objective, state, _ = run(new_encoder, values=[9, 5, 3, 2])
    assert state.best_epoch == 0
    for kept, loaded in zip(objective.encoder.state_dict().values(), new_encoder().state_dict().values(), strict=True):
        assert torch.equal(kept, loaded)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_resumed_run_equals_an_undisturbed_one_to_the_bit(new_encoder, tmp_path, after):
    values = [0, 1, 2, 3]
    whole, state, reports = run(new_encoder, values=values, folder=tmp_path)
    resumed, resumed_state, rest = run(new_encoder, values=values[after + 1 :], resume_from=tmp_path / str(after))
    assert resumed_state == state
    assert [report.epoch for report in rest] == [report.epoch for report in reports][after + 1 :]
    assert [report.step_metrics for report in rest] == [report.step_metrics for report in reports][after + 1 :]
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_cut_short_is_refused(new_encoder, tmp_path):
    run(new_encoder, epochs=1, folder=tmp_path)
    (tmp_path / "1" / "state.json").unlink()
    with pytest.raises(StoreError, match=r"holds no whole checkpoint \(state.json is absent\)"):
        run(new_encoder, epochs=2, resume_from=tmp_path / "1")


def test_a_loss_that_is_not_finite_stops_the_run(new_encoder):
    objective = Objective(new_encoder(), LossOptions())
    with torch.no_grad():
        objective.encoder.clip.text_projection.fill_(math.nan)
    with pytest.raises(ConicalError, match=r"loss is nan .* lower optim.learning_rate"):
        train(
            objective,
            batch_plan(),
            OptimOptions(epochs=1, batch_size=4),
            score_val=lambda: ValScore(values={METRIC: 0.0}),
            select_metric=METRIC,
            report=lambda _: None,
        )


def test_gains_biases_and_scales_are_not_decayed(new_encoder):
    objective = Objective(new_encoder(), LossOptions(is_learnable=True))
    decayed, spared = build_optimiser(objective, OptimOptions(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    names = {name for name, p in objective.named_parameters() if any(p is q for q in spared["params"])}
    assert "scales.tau_va.log_scale" in names
    assert "encoder.clip.ln_final.weight" in names


def test_the_rate_rises_then_falls_to_zero():
    options = OptimOptions(learning_rate=2.0, warmup_fraction=0.25)
    rates = [learning_rate_at(step, total_steps=8, options=options) for step in range(9)]
    # two steps of warm-up, then a cosine over six: the middle one is half the peak, the one past the end zero
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[5] == pytest.approx(1.0)
    assert rates[8] == pytest.approx(0.0, abs=1e-12)

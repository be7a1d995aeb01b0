"""The loop: it learns, keeps the best epoch, and a resumed run equals an undisturbed one."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from conical.core.errors import ConfigError, StoreError, UserError
from conical.engine import loop
from conical.engine.checkpoint import RunState, load_checkpoint
from conical.engine.loop import autocast_of, train
from conical.engine.objective import Objective
from conical.engine.optimiser import build_optimiser, share_of_peak
from conical.engine.options import OptimOptions
from conical.engine.selection import ValScore
from conical.losses import LossOptions
from conical.metrics import Ranking
from conical.models.dual_encoder import build_dual_encoder
from conical.models.weight_files import read_encoder_state
from conical.store import RankedQueries
from model_pairs import write_pair
from unit.engine.engine_factory import batch_plan, training_set

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
    between=None,
    resume_from=None,
    loss=None,
    rate=1e-3,
    keep_ranks=False,
    metric=METRIC,
    on_step=None,
    reports=None,
    side=32,
    **optim,
):
    """Train and return (objective, state, reports); checkpoints of reports go below `folder`, all below `between`."""
    torch.manual_seed(0)
    objective = Objective(new_encoder(), loss or LossOptions(tau_tv=10, tau_ta=10, tau_va=10))
    reports = [] if reports is None else reports
    scores = iter(range(100) if values is None else values)
    count = itertools.count()

    def report(epoch):
        reports.append(epoch)
        if folder is not None:
            epoch.save(folder / f"{epoch.epoch:g}")
        checkpoint(epoch.save)

    def checkpoint(save):
        if between is not None:
            save(between / str(next(count)))

    def score_val():
        value = next(scores)
        return ValScore(values={metric: float(value)}, ranked=ranked(value) if keep_ranks else None)

    state = train(
        objective,
        batch_plan(data=training_set(side=side)),
        OptimOptions(epochs=epochs, batch_size=4, learning_rate=rate, **optim),
        score_val=score_val,
        select_metric=metric,
        report=report,
        checkpoint=checkpoint,
        resume_from=resume_from,
        on_step=on_step,
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
    assert state == RunState(steps_done=6, best_epoch=1, best_value=5.0, since_best=2)
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


def test_a_loss_that_is_not_finite_names_terms_and_step_and_leaves_the_weights_before_it(new_encoder, tmp_path):
    """The third step's text is one that the text tower answers with nan."""
    objective = Objective(new_encoder(), LossOptions(w_va=0.5))
    embed, seen = objective.embed, []

    def poisoned(batch):
        seen.append(batch)
        embedded = embed(batch)
        if len(seen) < 3:
            return embedded
        return replace(embedded, texts={"text": embedded.texts["text"] * math.nan})

    objective.embed = poisoned
    with pytest.raises(UserError, match=r"^loss is nan, loss_tv is nan, loss_ta is nan, grad_norm is nan at step 2"):
        train(
            objective,
            batch_plan(),
            OptimOptions(epochs=2, batch_size=4),
            score_val=lambda: ValScore(values={METRIC: 0.0}),
            select_metric=METRIC,
            report=lambda _: None,
            checkpoint=lambda save: save(tmp_path),
        )
    assert all(parameter.isfinite().all() for parameter in objective.parameters())
    again = Objective(new_encoder(), LossOptions(w_va=0.5))
    optimiser = build_optimiser(again, OptimOptions())
    _, state = load_checkpoint(tmp_path, objective=again, optimiser=optimiser, average=None)
    assert state.steps_done == 2
    for kept, left in zip(again.state_dict().values(), objective.state_dict().values(), strict=True):
        assert torch.equal(kept, left)


def test_val_is_scored_every_few_steps(new_encoder):
    # two steps an epoch, six in all
    _, state, reports = run(new_encoder, eval_steps=4, values=[1, 5, 3])
    assert [report.epoch for report in reports] == [0, 2, 3]
    assert [[row["step"] for row in report.step_metrics] for report in reports] == [[], [0, 1, 2, 3], [4, 5]]
    _, state, reports = run(new_encoder, eval_steps=1, values=[1, 5, 3, 2, 2, 6, 4])
    assert [report.epoch for report in reports] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert (state.best_epoch, state.best_value) == (2.5, 6.0)
    assert [report.is_last for report in reports] == [False] * 6 + [True]


def test_patience_ends_a_run_that_gets_no_better(new_encoder):
    _, state, reports = run(new_encoder, epochs=9, patience=2, values=[1, 5, 3, 5, 9, 9])
    # the equal value of epoch 3 is no better one
    assert [report.epoch for report in reports] == [0, 1, 2, 3]
    assert (state.best_epoch, state.since_best, reports[-1].is_last) == (1, 2, True)
    _, state, _ = run(new_encoder, epochs=3, patience=2, values=[1, 2, 3, 4])
    assert state.steps_done == 6


def test_a_run_that_lost_its_patience_stays_ended(new_encoder, tmp_path):
    whole, state, _ = run(new_encoder, epochs=9, patience=1, values=[1, 5, 3], folder=tmp_path)
    resumed, again, rest = run(new_encoder, epochs=9, patience=1, values=[], resume_from=tmp_path / "2")
    assert (again, rest) == (state, [])
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert a.shape == b.shape


def test_the_average_of_the_weights_is_what_is_scored_and_kept(new_encoder):
    """By hand: after each step a <- d a + (1 - d) p, with d = min(0.5, (1 + t) / (10 + t))."""
    seen, scored = [], []

    def remember(objective):
        return {name: value.detach().clone() for name, value in objective.named_parameters()}

    torch.manual_seed(0)
    objective = Objective(new_encoder(), LossOptions())

    def score_val():
        scored.append(remember(objective))
        return ValScore(values={METRIC: float(len(scored))})

    train(
        objective,
        batch_plan(),
        OptimOptions(epochs=1, batch_size=4, learning_rate=1e-2, ema_decay=0.5),
        score_val=score_val,
        select_metric=METRIC,
        report=lambda _: None,
        on_step=lambda done, total: seen.append(remember(objective)),
    )
    average = scored[0]
    for number, weights in enumerate(seen, start=1):
        decay = min(0.5, (1 + number) / (10 + number))
        average = {name: decay * average[name] + (1 - decay) * value for name, value in weights.items()}
    assert len(seen) == 2
    for name, value in scored[1].items():
        torch.testing.assert_close(value, average[name])
    for name, value in objective.named_parameters():
        torch.testing.assert_close(value, average[name])
    assert any(not torch.equal(value, seen[-1][name]) for name, value in objective.named_parameters())


SETTINGS = [
    {},
    {"ema_decay": 0.9, "eval_steps": 4},
    {"chunk_size": 3, "new_learning_rate": 1e-2, "layer_decay": 0.5, "ema_decay": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_a_run_killed_at_any_step_goes_on_as_the_undisturbed_one(new_encoder, tmp_path, settings, killed_after):
    class KilledError(Exception):
        pass

    def kill(done, total):
        if done == killed_after:
            raise KilledError

    def values():
        return iter([0, 3, 1, 2])

    everywhere = {"checkpoint_steps": 1, "loss": LossOptions(is_learnable=True), **settings}
    whole, state, reports = run(new_encoder, values=values(), **everywhere)
    left, before = values(), []
    with pytest.raises(KilledError):
        run(new_encoder, values=left, between=tmp_path, on_step=kill, reports=before, **everywhere)
    latest = max(tmp_path.iterdir(), key=lambda path: int(path.name))
    resumed, resumed_state, rest = run(new_encoder, values=left, resume_from=latest, **everywhere)
    assert resumed_state == state
    told = {report.epoch: report.step_metrics for report in [*before, *rest]}
    assert told == {report.epoch: report.step_metrics for report in reports}
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_dropout_is_drawn_by_the_step_so_that_it_goes_on_too(tmp_path):
    pair = write_pair("timm and bert", tmp_path / "pair")

    def new_encoder():
        torch.manual_seed(1)
        return build_dual_encoder(pair)

    assert any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in new_encoder().modules())
    whole, _, reports = run(new_encoder, folder=tmp_path, side=new_encoder().image_size_px)
    resumed, _, rest = run(
        new_encoder, values=range(2, 9), resume_from=tmp_path / "1", side=new_encoder().image_size_px
    )
    assert [report.step_metrics for report in rest] == [report.step_metrics for report in reports][2:]
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_gains_biases_and_scales_are_not_decayed(new_encoder):
    objective = Objective(new_encoder(), LossOptions(is_learnable=True))
    decayed, spared = build_optimiser(objective, OptimOptions(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    names = {name for name, p in objective.named_parameters() if any(p is q for q in spared["params"])}
    assert "scales.tau_va.log_scale" in names
    assert "encoder.clip.ln_final.weight" in names


@pytest.mark.parametrize("has_it", [False, True])
def test_bfloat16_is_refused_where_there_is_none(monkeypatch, has_it):
    monkeypatch.setattr(loop, "_has_bfloat16", lambda device: has_it)
    cpu = torch.device("cpu")
    for precision in ("auto", "float32"):
        with autocast_of(precision, cpu):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    if has_it:
        with autocast_of("bfloat16", cpu):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    else:
        with pytest.raises(
            ConfigError, match=r"optim.precision 'bfloat16' is not what this CPU computes in: use 'float3"
        ):
            autocast_of("bfloat16", cpu)


def test_the_rate_rises_then_falls_to_zero():
    options = OptimOptions(warmup_fraction=0.25)
    shares = [share_of_peak(step, total_steps=8, options=options) for step in range(9)]
    # two steps of warm-up, then a cosine over six: the middle one is half the peak, the one past the end zero
    assert shares[:3] == [0.5, 1.0, 1.0]
    assert shares[5] == pytest.approx(0.5)
    assert shares[8] == pytest.approx(0.0, abs=1e-12)

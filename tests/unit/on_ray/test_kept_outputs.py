"""A run on kept outputs of frozen towers is the run that computes them, and computes nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from conical.on_ray import epochs
from conical.runs.dependencies import data_source
from conical.store import Workspace
from ingested_stores import write_stores
from model_pairs import PAIRS, write_pair
from unit.runs.scored_runs import small_experiment

LINEAR = "model.{}_projection={{kind='linear', width=12}}"
PROJECTIONS = (LINEAR.format("image"), LINEAR.format("text"))
BOTH = ("model.freeze=['clip.*']", *PROJECTIONS)
CASES = {
    "image tower": ("model.freeze=['clip.visual.*']", "loss.name=info_nce"),
    "copies from views": (*BOTH, "augment.num_views=2"),
    "copies from views, fewer frames": (*BOTH, "augment.num_views=3", "augment.num_frames=2"),
    "words": (*BOTH, "loss.name=info_nce", "model.head=token_wise", "model.head_settings={num_layers=1}"),
    "text tower": ("model.freeze=['clip.transformer.*', 'clip.*embedding*', 'clip.ln_final.*', 'clip.text_proj*']",),
}


@pytest.fixture
def run(tmp_path: Path):
    """Trains three epochs and gives (losses of all steps, values on val, what was told)."""

    def train(options, *overrides: str, px: int = 32, ranks_seed: int = 0):
        experiment = small_experiment(
            options, f"frames.size={px}", "optim.epochs=3", "optim.batch_size=4", "optim.learning_rate=0.01", *overrides
        )
        workspace = Workspace.open(tmp_path / f"workspace{px}")
        if not workspace.manifest(experiment.dataset.folder).is_file():
            write_stores(experiment, workspace, {"train": 8, "val": 5})
        reports, told = [], []
        source = data_source(experiment, workspace)
        epochs.run_epochs(experiment, source, report=reports.append, warn=told.append, tell=told.append)
        losses = [row["loss"] for report in reports for row in report.step_metrics]
        values = [value for report in reports for value in report.val_metrics.values()]
        return losses, values, told

    return train


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_computed_outputs(small_clip, run, case: str) -> None:
    losses, values, told = run(small_clip, *CASES[case])
    computed, scored, silent = run(small_clip, *CASES[case], "model.keeps_outputs=false")
    assert len(losses) == 6
    assert losses == pytest.approx(computed, abs=1e-5)
    assert values == pytest.approx(scored, abs=1e-5)
    assert (bool(told), bool(silent)) == (True, False)
    assert losses[0] != pytest.approx(losses[-1], abs=1e-4)


def test_a_tower_with_batch_norm_and_dropout_is_kept_as_it_is_computed(run, tmp_path: Path) -> None:
    options = write_pair("timm and bert", tmp_path / "pair")
    px = PAIRS["timm and bert"].image_size_px
    settings = (*BOTH, "loss.name=info_nce")
    losses, values, _ = run(options, *settings, px=px)
    computed, scored, _ = run(options, *settings, "model.keeps_outputs=false", px=px)
    assert losses == pytest.approx(computed, abs=1e-5)
    assert values == pytest.approx(scored, abs=1e-5)


def test_a_second_run_runs_no_tower(small_clip, run, monkeypatch: pytest.MonkeyPatch) -> None:
    from conical.models import dual_encoder

    settings = (*BOTH, "augment.num_views=2")
    losses, _, _ = run(small_clip, *settings)
    calls = []
    monkeypatch.setattr(dual_encoder, "encode_frames", lambda *_: calls.append("image"))
    monkeypatch.setattr(dual_encoder, "encode_tokens", lambda *_: calls.append("text"))
    monkeypatch.setattr(dual_encoder, "text_width", lambda *_: 16)
    again, _, _ = run(small_clip, *settings)
    assert again == losses
    # another seed of training has the same towers, frames, copies and texts
    run(small_clip, *settings, "seed=7")
    assert calls == []


def test_other_weights_or_frames_are_other_outputs(small_clip, run, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from conical.models import ModelOptions

    settings = (*BOTH, "loss.name=info_nce")
    losses, _, _ = run(small_clip, *settings)
    state = load_file(small_clip.weights)
    torch.manual_seed(5)
    state["visual.proj"] = torch.randn_like(state["visual.proj"])
    save_file(state, tmp_path / "other.safetensors")
    other, _, _ = run(ModelOptions(name=small_clip.name, weights=str(tmp_path / "other.safetensors")), *settings)
    assert other != pytest.approx(losses, abs=1e-3)


def test_copies_that_are_new_for_each_row_are_made_in_each_step(small_clip, run) -> None:
    losses, _, told = run(
        small_clip, "model.freeze=['clip.visual.*']", "model.image_projection={kind='linear', width=16}"
    )
    assert told == []
    assert len(losses) == 6

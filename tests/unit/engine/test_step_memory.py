"""What a step takes, estimated before it: counted by hand, against a real step, and said in one line."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from conical.engine.batches import Batch
from conical.engine.loop import Step
from conical.engine.objective import Objective
from conical.engine.step_memory import (
    StepMemory,
    _cgroup_bytes,
    free_bytes,
    freeze_unused,
    measure_step,
    memory_warning,
)
from conical.losses import LossOptions
from conical.models.dual_encoder import build_dual_encoder
from conical.models.heads.mean_pool import MeanPool
from model_pairs import PAIRS, write_pair


def one_row(encoder, *, rows: int = 1, text: str = "a dog runs and jumps") -> Batch:
    side = encoder.image_size_px
    return Batch(
        video=torch.arange(rows),
        texts=[text] * rows,
        frames=torch.randint(0, 256, (rows, 2, side, side, 3), dtype=torch.uint8),
        degrees=torch.zeros(rows),
        flip=torch.zeros(rows, dtype=torch.bool),
    )


class _Linear(nn.Module):
    """Keeps what can be counted by hand: the input of each weight."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Linear(32 * 32 * 3, 8, bias=False)
        self.words = nn.Linear(16, 8, bias=False)
        self.unused = nn.Linear(5, 5, bias=False)
        self.image_size_px = 32
        self.head = MeanPool(8)

    def forward(self, frames, augmented, texts, supplements):
        assert augmented is None
        assert supplements == ()
        texts, clips = self.words(torch.ones(len(texts), 16)), self.pixels(frames.flatten(0, 1).flatten(1).float())
        return {"text": texts}, {"clip": clips}, {}


def test_a_step_of_linear_towers_is_what_a_pencil_gives() -> None:
    encoder = _Linear()
    freeze_unused(encoder, one_row(encoder))
    step = measure_step(encoder, one_row(encoder), needs_copies=False, autocast=nullcontext())
    weights = 4 * (32 * 32 * 3 * 8 + 16 * 8)
    assert step.fixed == 3 * weights
    # of each row the input of either tower: two frames of floats, and the tokens
    assert step.per_row == 4 * (2 * 32 * 32 * 3 + 16)
    assert step.of(10) == step.fixed + 10 * step.per_row


def test_copies_of_the_clips_are_counted(small_encoder) -> None:
    plain, with_copies = (
        measure_step(small_encoder, one_row(small_encoder), needs_copies=needs, autocast=nullcontext())
        for needs in (False, True)
    )
    assert with_copies.per_row > 1.5 * plain.per_row
    assert with_copies.fixed == plain.fixed


def test_more_rows_keep_what_was_foreseen(small_encoder) -> None:
    step = measure_step(small_encoder, one_row(small_encoder), needs_copies=False, autocast=nullcontext())
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        seen.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    seen: dict[int, torch.Tensor] = {}
    batch = one_row(small_encoder, rows=8)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = small_encoder.eval()(batch.frames, None, batch.texts)
    weights = {parameter.untyped_storage().data_ptr() for parameter in small_encoder.parameters()}
    kept = sum(one.untyped_storage().nbytes() for address, one in seen.items() if address not in weights)
    trained = sum(4 * one.numel() for one in small_encoder.parameters() if one.requires_grad)
    assert len(outputs[0]["text"]) == 8
    assert step.of(8) - 3 * trained == pytest.approx(kept, rel=0.1)


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    encoder = build_dual_encoder(write_pair("timm and bert", tmp_path)).train()
    row = one_row(encoder)
    before, random = copy.deepcopy(encoder.state_dict()), torch.random.get_rng_state()
    modes = [module.training for module in encoder.modules()]
    measure_step(encoder, row, needs_copies=True, autocast=nullcontext())
    freeze_unused(encoder, row)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [module.training for module in encoder.modules()] == modes


@pytest.mark.parametrize("name", PAIRS)
def test_every_kind_of_model_trains_and_all_that_is_trained_has_a_gradient(tmp_path: Path, name: str) -> None:
    encoder = build_dual_encoder(write_pair(name, tmp_path)).train()
    batch = one_row(encoder, rows=2)
    batch.texts[1] = "the red cat jumps over a ball"
    frozen = freeze_unused(encoder, one_row(encoder))
    assert any("text_decoder" in one for one in frozen) == (name == "coca")
    objective = Objective(encoder, LossOptions(name="info_nce"))
    trained = {key: one for key, one in objective.named_parameters() if one.requires_grad}
    before = {key: one.detach().clone() for key, one in trained.items()}
    step = Step(optimiser=torch.optim.AdamW(trained.values()), max_grad_norm=1.0)
    terms = step(objective, objective, batch, number=0)
    assert terms["loss"].isfinite()
    # DDP waits for each of them
    assert [key for key, one in trained.items() if one.grad is None] == []
    assert any(not torch.equal(one, before[key]) for key, one in trained.items())
    with torch.no_grad():
        video = encoder.eval().encode_video(batch.frames)
    torch.testing.assert_close(F.normalize(video, dim=-1), video)


def test_a_step_that_fits_says_nothing() -> None:
    assert memory_warning(StepMemory(fixed=10, per_row=1), rows=5, side_by_side=2, free=30) == ""
    assert memory_warning(StepMemory(fixed=10, per_row=1), rows=5, side_by_side=2, free=29) != ""


def test_memory_is_looked_up_where_it_ends(tmp_path: Path, monkeypatch) -> None:
    free = free_bytes(torch.device("cpu"))
    assert free > 0
    monkeypatch.setattr("conical.engine.step_memory._CGROUP", tmp_path)
    assert _cgroup_bytes("memory.max") is None
    (tmp_path / "memory.max").write_text("max\n")
    assert _cgroup_bytes("memory.max") is None
    (tmp_path / "memory.max").write_text("2000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_bytes(torch.device("cpu")) == 900_000

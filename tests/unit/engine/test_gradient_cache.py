"""Chunks give the gradient of the whole batch, keep less, and draw the same dropout twice."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from conical.config import load_experiment
from conical.core.errors import ConfigError
from conical.engine.gradient_cache import cached_backward
from conical.engine.objective import Objective
from conical.losses import LossOptions
from conical.models import ModelOptions
from conical.models.dual_encoder import build_dual_encoder
from unit.engine.engine_factory import batch_plan, training_set

HEADS = {
    "mean_pool": {},
    "seq_transformer": {"num_layers": 1},
    "frame_weights": {"num_layers": 1},
    "token_wise": {"num_layers": 1},
    "multi_grained": {"num_layers": 1},
    "text_conditioned_pool": {"dropout": 0.0},
    "token_shift_select": {"num_layers": 1, "num_samples": 20},
    "text_weighted_select": {"num_layers": 1, "num_samples": 20},
    "caption_fusion": {},
}


def build(small_clip, head: str, loss: LossOptions, **more) -> Objective:
    torch.manual_seed(0)
    options = ModelOptions(
        name=small_clip.name, weights=small_clip.weights, head=head, head_settings=HEADS[head], **more
    )
    return Objective(build_dual_encoder(options), loss).double()


def gradients(objective: Objective, batch, chunk_size: int | None) -> dict[str, torch.Tensor]:
    objective.zero_grad(set_to_none=True)
    if chunk_size is None:
        terms = objective(batch)
        terms["loss"].backward()
    else:
        terms = cached_backward(objective, objective, batch, chunk_size=chunk_size, autocast=nullcontext())
    found = {name: one.grad.clone() for name, one in objective.named_parameters() if one.requires_grad}
    return {**found, "loss": terms["loss"].detach()}


@pytest.mark.parametrize(
    "loss", [LossOptions(is_learnable=True), LossOptions(name="sigmoid", is_learnable=True)], ids=str
)
@pytest.mark.parametrize("head", HEADS)
def test_chunks_give_the_gradient_of_the_whole_batch(small_clip, head: str, loss: LossOptions) -> None:
    objective = build(small_clip, head, loss)
    data = training_set()
    if head == "caption_fusion":
        data = type(data)(
            frames=data.frames, texts=data.texts, supplements=[("a red thing",) * (n % 3) for n in range(8)]
        )
    batch = next(iter(batch_plan(data=data, batch_size=7).batches(0)))
    whole = gradients(objective, batch, None)
    for chunk_size in (1, 3, 6):
        chunked = gradients(objective, batch, chunk_size)
        expected, found = (torch.cat([one.flatten() for one in of.values()]) for of in (whole, chunked))
        assert (found - expected).norm() < 1e-9 * expected.norm(), chunk_size
    single = objective.float()
    whole, chunked = gradients(single, batch, None), gradients(single, batch, 3)
    expected, found = (torch.cat([one.flatten() for one in of.values()]) for of in (whole, chunked))
    assert (found - expected).norm() < 3e-6 * expected.norm()
    assert sum(value.abs().sum() > 0 for value in whole.values()) > len(whole) / 2


class _Counting(nn.Dropout):
    """Dropout that remembers what it let through."""

    masks: list[torch.Tensor]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        self.masks.append((out != 0).detach())
        return out


def test_dropout_is_the_same_in_both_passes(small_clip) -> None:
    objective = build(small_clip, "mean_pool", LossOptions(name="info_nce"))
    dropout = _Counting(0.5)
    dropout.masks = []
    objective.encoder.image_projection = nn.Sequential(dropout, nn.Linear(16, 16).double())
    batch = next(iter(batch_plan(batch_size=6).batches(0)))
    gradients(objective, batch, 2)
    first, second = dropout.masks[:3], dropout.masks[3:]
    assert len(second) == 3
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_less_is_kept(small_clip) -> None:
    objective = build(small_clip, "mean_pool", LossOptions())
    batch = next(iter(batch_plan(batch_size=8).batches(0)))
    most = {}
    for chunk_size in (None, 2):
        alive, peak = 0, 0

        def keep(tensor: torch.Tensor):
            nonlocal alive, peak
            size = tensor.untyped_storage().nbytes()
            alive += size
            peak = max(peak, alive)

            class Held:
                def __init__(self) -> None:
                    self.tensor = tensor

                def __del__(self) -> None:
                    nonlocal alive
                    alive -= size

            return Held()

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
            gradients(copy.deepcopy(objective), batch, chunk_size)
        most[chunk_size] = peak
    assert most[2] < 0.5 * most[None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["optim.chunk_size=8", "model.batch_norm=trained"],
            "optim.chunk_size must be 0 where model.batch_norm is 'trained': chunks would be normalised apart",
        ),
        (["optim.gradient_accumulation=4"], "unknown key 'optim.gradient_accumulation'.*use optim.chunk_size"),
        (
            ["optim.accumulate_grad_batches=4"],
            "each of its batches would have its own, fewer negatives: use optim.chunk",
        ),
    ],
)
def test_what_would_change_the_loss_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(None, settings)

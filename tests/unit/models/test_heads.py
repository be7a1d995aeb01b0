"""Heads: the mean of frames, and heads from outside that train, checkpoint, resume and are scored like the rest."""

from __future__ import annotations

import doctest
import importlib
import sys
from types import ModuleType

import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from conical.config import load_experiment
from conical.core.errors import ConfigError, StoreError
from conical.engine.objective import Objective
from conical.losses import LossOptions
from conical.models import HEADS, HeadCard, ModelOptions
from conical.models.dual_encoder import build_dual_encoder, embedding_width
from conical.models.heads import build_head
from conical.models.heads.mean_pool import MeanPool
from conical.models.weight_files import load_encoder, save_encoder
from unit.engine.engine_factory import batch_plan
from unit.engine.test_loop import run


class Weighted(nn.Module):
    """Frames weighted by a learnt query."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.ones(width))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        weights = (frames @ self.query).softmax(dim=1)
        return F.normalize((weights[..., None] * frames).sum(dim=1), dim=-1)


def card(build, **more) -> HeadCard:
    return HeadCard(name="x", summary="s", source="us", build=build, **more)


class Short(nn.Module):
    def forward(self, frames):
        return 2 * frames[:, 0]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("lab_of_heads")
    module.CARD, module.OTHER = card(Weighted), card(Weighted)
    module.LONG, module.FRAMES = card(lambda _: Short()), card(lambda _: nn.Identity())
    module.LATE, module.NUMBER = card(Weighted, is_indexable=False), 3
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def head_options(small_clip, head: str = "lab_of_heads:CARD", weights: str = "") -> ModelOptions:
    return ModelOptions(name=small_clip.name, weights=weights or small_clip.weights, head=head)


FRAMES = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", HEADS)
def test_each_row_is_complete_and_gives_embeddings(name: str) -> None:
    assert HEADS[name].name == name
    assert HEADS[name].summary
    assert HEADS[name].source
    assert isinstance(build_head(name, width=7), nn.Module)


def test_the_example_of_the_mean_holds() -> None:
    results = doctest.testmod(importlib.import_module("conical.models.heads.mean_pool"))
    assert (results.attempted, results.failed) == (2, 0)


def test_the_mean_has_no_parameters_and_ignores_the_order_of_frames() -> None:
    frames = F.normalize(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    head = MeanPool(8)
    assert not head.state_dict()
    torch.testing.assert_close(head(frames), head(frames.flip(1)))
    torch.testing.assert_close(head(frames)[1], F.normalize(frames[1].mean(dim=0), dim=0))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("mean_pol", "model.head must be one of mean_pool; got 'mean_pol'. Did you mean 'mean_pool'?"),
        ("lab_of_heads:NUMBER", "model.head 'lab_of_heads:NUMBER' must lead to a HeadCard, got int: see docs/adding_a"),
        ("lab_of_heads:GONE", "head 'lab_of_heads:GONE' cannot be imported: .*no attribute 'GONE'"),
        ("lab_of_heads:LATE", "model.head 'lab_of_heads:LATE' has no single vector per clip, which training and scor"),
    ],
)
def test_what_is_no_head_is_refused_in_one_line(lab: ModuleType, head: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_experiment(None, [f"model.head={head}"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("LONG", r"must give embeddings of shape \(clip, 4\) and length 1, got shape \(1, 4\) and length 2: normalise"),
        ("FRAMES", r"got shape \(1, 2, 4\)"),
    ],
)
def test_a_head_that_gives_no_unit_embedding_is_refused(lab: ModuleType, head: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_head(f"lab_of_heads:{head}", width=4)


def test_a_head_is_trained(lab: ModuleType, small_clip) -> None:
    encoder = build_dual_encoder(head_options(small_clip))
    assert encoder.training
    Objective(encoder, LossOptions())(next(iter(batch_plan().batches(0))))["loss"].backward()
    assert encoder.head.query.grad.abs().sum() > 0


def test_a_trained_head_is_saved_beside_its_clip_and_comes_back(lab: ModuleType, small_clip, tmp_path) -> None:
    encoder = build_dual_encoder(head_options(small_clip))
    with torch.no_grad():
        encoder.head.query.normal_(generator=torch.Generator().manual_seed(1))
        expected = encoder.encode_video(FRAMES)
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"encoder.safetensors", "head.safetensors"}
    weights = str(tmp_path / "encoder.safetensors")
    with torch.no_grad():
        scored = build_dual_encoder(head_options(small_clip))
        load_encoder(scored, tmp_path / "encoder.safetensors")
        assert torch.equal(scored.encode_video(FRAMES), expected)
        assert torch.equal(build_dual_encoder(head_options(small_clip, weights=weights)).encode_video(FRAMES), expected)
        # another head starts afresh on the same CLIP
        other = build_dual_encoder(head_options(small_clip, "lab_of_heads:OTHER", weights))
        assert torch.equal(other.head.query, torch.ones(16))


def test_a_run_with_a_head_resumes_to_the_bit(lab: ModuleType, small_clip, tmp_path) -> None:
    def new_encoder():
        return build_dual_encoder(head_options(small_clip))

    values = [0, 1, 2, 3]
    whole, _, _ = run(new_encoder, values=values, folder=tmp_path)
    assert (tmp_path / "1" / "best" / "head.safetensors").is_file()
    resumed, _, _ = run(new_encoder, values=values[2:], resume_from=tmp_path / "1")
    assert not torch.equal(whole.encoder.head.query, torch.ones(16))
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    # a run that only gets worse ends with the head as it was at its start, from the checkpoint too
    resumed, _, _ = run(new_encoder, values=[0, 0], resume_from=tmp_path / "1", epochs=3)
    kept = new_encoder()
    load_encoder(kept, tmp_path / "1" / "best" / "encoder.safetensors")
    assert torch.equal(resumed.encoder.head.query, kept.head.query)


def test_a_run_without_the_head_it_was_trained_with_is_not_scored(lab: ModuleType, small_clip, tmp_path) -> None:
    encoder = build_dual_encoder(head_options(small_clip))
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(StoreError, match="must hold head 'lab_of_heads:OTHER', got 'lab_of_heads:CARD': train again"):
        load_encoder(
            build_dual_encoder(head_options(small_clip, "lab_of_heads:OTHER")), tmp_path / "encoder.safetensors"
        )
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(StoreError, match=r"encoder.safetensors cannot be loaded \(.*head.safetensors"):
        load_encoder(encoder, tmp_path / "encoder.safetensors")


def test_the_width_is_that_of_the_embeddings_also_where_the_tower_does_not_say(small_encoder) -> None:
    assert small_encoder.width == 16
    vision = {"timm_model_name": "resnet10t", "timm_model_pretrained": False, "image_size": 32, "timm_pool": "avg"}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    clip = open_clip.CustomTextCLIP(embed_dim=24, vision_cfg=vision | {"timm_proj": "linear"}, text_cfg=text)
    assert not hasattr(clip.visual, "output_dim")
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    assert embedding_width(clip) == 24
    assert clip.training
    assert all(torch.equal(value, before[name]) for name, value in clip.state_dict().items())

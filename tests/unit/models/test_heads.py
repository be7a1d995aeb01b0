"""Heads: the mean of frames, and heads from outside that train, checkpoint, resume and are scored like the rest."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from types import ModuleType

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from conical.config import load_experiment
from conical.core.errors import ConfigError, StoreError
from conical.engine.embedding import EvaluationSet
from conical.engine.objective import Objective
from conical.engine.options import EvaluateOptions
from conical.engine.scorer import Scorer
from conical.losses import LossOptions, contrastive_term
from conical.metrics import EvaluationName
from conical.models import HEADS, HeadCard, ModelOptions
from conical.models.dual_encoder import build_dual_encoder, embedding_width
from conical.models.heads import build_head
from conical.models.heads.head import Clips, Features, Head, PoolingHead, Texts
from conical.models.heads.mean_pool import MeanPool
from conical.models.weight_files import load_encoder, save_encoder
from unit.engine.engine_factory import batch_plan
from unit.engine.test_loop import run


class Weighted(PoolingHead):
    """Frames weighted by a learnt query."""

    def __init__(self, width: int, sharpness: float = 1.0) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.ones(width))
        self.sharpness = sharpness

    def pool(self, frames: torch.Tensor) -> torch.Tensor:
        weights = (self.sharpness * frames @ self.query).softmax(dim=1)
        return (weights[..., None] * frames).sum(dim=1)


class BestFrame(Head):
    """A late interaction: the score of a pair is that of the frame nearest to the text."""

    def encode_texts(self, texts: Texts) -> Features:
        return {"text": F.normalize(texts.sentence, dim=-1)}

    def encode_clips(self, clips: Clips) -> Features:
        return {"frames": F.normalize(clips.frames, dim=-1)}

    def similarity(self, texts: Features, clips: Features) -> torch.Tensor:
        return torch.einsum("td,vfd->tvf", texts["text"], clips["frames"]).amax(dim=2)

    def vectors(self, clips: Features) -> torch.Tensor:
        return F.normalize(clips["frames"].mean(dim=1), dim=-1)


class Loud(BestFrame):
    def similarity(self, texts: Features, clips: Features) -> torch.Tensor:
        return 30 * super().similarity(texts, clips)


class Long(BestFrame):
    def vectors(self, clips: Features) -> torch.Tensor:
        return 2 * clips["frames"][:, 0]


def card(build, **more) -> HeadCard:
    return HeadCard(name="x", summary="s", source="us", build=build, **more)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("lab_of_heads")
    module.CARD, module.OTHER = card(Weighted, settings={"sharpness": 1.0}), card(Weighted)
    module.LONG, module.FRAMES = card(lambda _: Long()), card(lambda _: nn.Identity())
    module.LATE, module.LOUD, module.NUMBER = card(lambda _: BestFrame(), is_indexable=False), card(lambda _: Loud()), 3
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
    assert isinstance(build_head(name, width=16), Head)
    assert isinstance(build_head(name, width=16), PoolingHead) == HEADS[name].is_indexable


def test_the_example_of_the_mean_holds() -> None:
    results = doctest.testmod(importlib.import_module("conical.models.heads.mean_pool"))
    assert (results.attempted, results.failed) == (3, 0)


def test_the_mean_has_no_parameters_and_ignores_the_order_of_frames() -> None:
    frames = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    head = MeanPool(8)
    assert not head.state_dict()
    vectors = head.encode_clips(Clips(frames=frames))["clip"]
    torch.testing.assert_close(vectors, head.encode_clips(Clips(frames=frames.flip(1)))["clip"])
    torch.testing.assert_close(vectors[1], F.normalize(F.normalize(frames[1], dim=-1).mean(dim=0), dim=0))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("mean_pol", "model.head must be one of mean_pool, .*; got 'mean_pol'. Did you mean 'mean_pool'?"),
        ("lab_of_heads:NUMBER", "model.head 'lab_of_heads:NUMBER' must lead to a HeadCard, got int: see docs/adding_a"),
        ("lab_of_heads:GONE", "head 'lab_of_heads:GONE' cannot be imported: .*no attribute 'GONE'"),
    ],
)
def test_what_is_no_head_is_refused_in_one_line(lab: ModuleType, head: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_experiment(None, [f"model.head={head}"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "LONG",
            r"must give vectors of shape \(clip, dim\) and length 1, got shape \(2, 4\) and length 2: normalise them",
        ),
        ("LOUD", r"must give scores of shape \(text, clip\) in \[-1, 1\], got shape \(3, 2\) and .*: return cosines"),
        ("FRAMES", "must build a Head, got Identity: derive it from PoolingHead, see docs/adding_a_head.md"),
    ],
)
def test_a_head_that_gives_no_cosines_is_refused(lab: ModuleType, head: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_head(f"lab_of_heads:{head}", width=4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "sharpnes=2.0",
            "head_settings.sharpnes is no setting of head 'x', which has sharpness. Did you mean 'sharpne",
        ),
        ("sharpness='high'", "head_settings.sharpness must be float such as 1.0, got 'high'"),
        ("sharpness=true", "head_settings.sharpness must be float such as 1.0, got True"),
    ],
)
def test_a_setting_that_the_head_has_not_is_refused(lab: ModuleType, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"model.{message}")):
        load_experiment(None, ["model.head=lab_of_heads:CARD", f"model.head_settings.{setting}"])


def test_settings_reach_the_module(lab: ModuleType) -> None:
    experiment = load_experiment(None, ["model.head=lab_of_heads:CARD", "model.head_settings.sharpness=3"])
    assert build_head(experiment.model.head, width=4, settings=experiment.model.head_settings).sharpness == 3
    assert load_experiment(None, ["model.head=lab_of_heads:CARD"]).model.head_settings == {}


def test_a_late_interaction_is_trained_and_scored_by_pairs(lab: ModuleType, small_clip) -> None:
    encoder = build_dual_encoder(head_options(small_clip, "lab_of_heads:LATE"))
    batch = next(iter(batch_plan().batches(0)))
    objective = Objective(encoder, LossOptions(name="info_nce", denominator="all", symmetric=True))
    terms = objective(batch)
    with torch.no_grad():
        texts = encoder.encode_text(encoder.tokenize(batch.texts))
        frames = encoder.encode_clips(encoder.image_tower(batch.frames))["frames"]
    pairs = torch.tensor([[max(float(text @ frame) for frame in clip) for clip in frames] for text in texts])
    expected = contrastive_term(pairs, tau=20.0, symmetric=True, video_ids=batch.video)
    torch.testing.assert_close(terms["loss"].detach(), expected, atol=1e-5, rtol=1e-5)
    data = EvaluationSet(
        split="val",
        video_ids=("a", "b"),
        frames=FRAMES.numpy(),
        texts=(("a red thing",), ("a blue thing", "it moves"), ("a red thing",)),
        text_video=np.array([0, 1, 1]),
    )
    found = Scorer(encoder, EvaluateOptions(batch_size=2), sets={"val": data}).rank(EvaluationName(split="val"))
    with torch.no_grad():
        frames = encoder.encode_clips(encoder.image_tower(FRAMES))["frames"]
        pieces = {piece: encoder.encode_text(encoder.tokenize([piece]))[0] for text in data.texts for piece in text}
    for row, text in enumerate(data.texts):
        for column, clip in enumerate(frames):
            mean = sum(max(float(pieces[piece] @ frame) for frame in clip) for piece in text) / len(text)
            assert found.similarity[row, column] == pytest.approx(mean, abs=1e-5)
    assert (found.similarity[0] == found.similarity[2]).all()


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
    assert embedding_width(small_encoder.clip) == 16
    vision = {"timm_model_name": "resnet10t", "timm_model_pretrained": False, "image_size": 32, "timm_pool": "avg"}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    clip = open_clip.CustomTextCLIP(embed_dim=24, vision_cfg=vision | {"timm_proj": "linear"}, text_cfg=text)
    assert not hasattr(clip.visual, "output_dim")
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    assert embedding_width(clip) == 24
    assert clip.training
    assert all(torch.equal(value, before[name]) for name, value in clip.state_dict().items())

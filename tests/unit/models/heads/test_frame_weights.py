"""Weighted frames against a loop over frames, what they are at the start, and what distillation does to them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from conical.core.errors import ConfigError
from conical.losses.compared import Comparison
from conical.losses.distillation import fine_distillation
from conical.models.heads.frame_weights import FrameWeights
from conical.models.heads.head import Clips, Texts
from conical.models.heads.seq_transformer import SeqTransformer
from unit.models.heads.head_checks import check_head, random, score, with_random_weights

TEXTS = Texts(sentence=random(3, 6, seed=1))
CLIPS = Clips(frames=3 * random(4, 5, 6, seed=2))


def head(**settings) -> FrameWeights:
    return with_random_weights(FrameWeights(6, **{"num_layers": 1, **settings}))


@pytest.mark.parametrize("num_layers", [0, 2])
def test_it_does_what_every_head_must(num_layers: int) -> None:
    check_head(head(num_layers=num_layers), TEXTS, CLIPS)


def test_it_equals_the_loop_over_frames() -> None:
    weigher = head(num_layers=0, sharpness=3.0)
    inner, bias = weigher.hidden.weight.tolist(), weigher.hidden.bias.tolist()
    outer = weigher.score.weight[0].tolist()
    features = weigher.encode_clips(CLIPS)
    for v, clip in enumerate(CLIPS.frames.tolist()):
        scores = []
        for frame in clip:
            hidden = [
                max(0.0, sum(w * x for w, x in zip(row, frame, strict=True)) + b)
                for row, b in zip(inner, bias, strict=True)
            ]
            scores.append(sum(w * h for w, h in zip(outer, hidden, strict=True)))
        powers = [math.exp(3 * z) for z in scores]
        mean = [0.0] * 6
        for frame, power in zip(clip, powers, strict=True):
            length = math.sqrt(sum(x * x for x in frame))
            mean = [m + power / sum(powers) * x / length for m, x in zip(mean, frame, strict=True)]
        length = math.sqrt(sum(m * m for m in mean))
        assert features["clip"][v].tolist() == pytest.approx([m / length for m in mean], abs=1e-5)
        taught = [math.exp(z) / sum(math.exp(other) for other in scores) for z in scores]
        assert features["frame_weights"][v].tolist() == pytest.approx(taught, abs=1e-5)


def test_at_the_start_it_is_the_mean_of_unit_frames() -> None:
    mean = F.normalize(F.normalize(CLIPS.frames, dim=-1).mean(dim=1), dim=-1)
    features = FrameWeights(6).encode_clips(CLIPS)
    assert torch.allclose(features["clip"], mean, atol=1e-6)
    assert torch.allclose(features["frame_weights"], torch.full((4, 5), 0.2))


def test_its_frames_are_those_of_the_sequential_head() -> None:
    weigher, sequential = head(), SeqTransformer(6, num_layers=1)
    sequential.temporal.load_state_dict(weigher.temporal.state_dict())
    torch.nn.init.zeros_(weigher.score.weight)
    assert torch.allclose(score(weigher, TEXTS, CLIPS), score(sequential, TEXTS, CLIPS), atol=1e-6)


def test_the_pooled_vector_is_that_of_the_features() -> None:
    weigher = head()
    assert torch.allclose(F.normalize(weigher.pool(CLIPS.frames), dim=-1), weigher.encode_clips(CLIPS)["clip"])


def test_a_sharp_weight_takes_one_frame() -> None:
    weigher = head(num_layers=0, sharpness=1e4)
    best = weigher.encode_clips(CLIPS)["frame_weights"].argmax(dim=1)
    expected = F.normalize(CLIPS.frames[torch.arange(4), best], dim=-1)
    assert torch.allclose(weigher.encode_clips(CLIPS)["clip"], expected, atol=1e-5)


def test_distillation_moves_the_weights_to_the_teachers_relevance() -> None:
    torch.manual_seed(0)
    student, ids = FrameWeights(6, num_layers=0), torch.arange(4)
    text = F.normalize(random(4, 6, seed=3), dim=-1)
    frames = F.normalize(CLIPS.frames, dim=-1)
    teacher = Comparison(similarity={}, video_ids=ids, texts={"text": text}, videos={"frames": frames})
    relevance = (4 * (frames * text[:, None]).sum(dim=-1)).softmax(dim=1)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.05)
    for _ in range(300):
        videos = student.encode_clips(CLIPS)
        optimiser.zero_grad()
        fine_distillation(
            Comparison(similarity={}, video_ids=ids, videos=videos, teacher=teacher), scale=4.0
        ).backward()
        optimiser.step()
    assert torch.allclose(student.encode_clips(CLIPS)["frame_weights"], relevance, atol=0.02)


@pytest.mark.parametrize("sharpness", [0.0, math.inf])
def test_a_sharpness_out_of_range_is_refused(sharpness: float) -> None:
    with pytest.raises(ConfigError, match=f"sharpness must be a finite number > 0, got {sharpness}"):
        FrameWeights(6, sharpness=sharpness)


def test_too_many_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match="clips of 5 frames need max_frames >= 5, got 4"):
        FrameWeights(6, max_frames=4).encode_clips(CLIPS)

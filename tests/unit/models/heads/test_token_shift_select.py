"""Patch selection of TS2-Net against a loop over frames and patches, at its start, and with text-weighted frames."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips, Head, Texts
from conical.models.heads.perturbed_top_k import perturbed_top_k
from conical.models.heads.text_weighted_select import TextWeightedSelect
from conical.models.heads.token_shift_select import TokenShiftSelect
from unit.models.heads.head_checks import check_head, random, score, with_random_weights

TEXTS = Texts(sentence=random(3, 6, seed=1))
CLIPS = Clips(frames=2 * random(3, 4, 6, seed=2), patches=2 * random(3, 4, 7, 6, seed=3))
BOTH = pytest.mark.parametrize("build", [TokenShiftSelect, TextWeightedSelect])


def head(build: type[Head] = TokenShiftSelect, **settings):
    few = {"top_k": 2, "num_samples": 50, "num_layers": 1, "max_frames": 6}
    return with_random_weights(build(6, **(few | settings)))


@BOTH
def test_it_does_what_every_head_must(build: type[Head]) -> None:
    check_head(head(build), TEXTS, CLIPS)


@BOTH
def test_it_is_the_same_in_training_and_in_evaluation(build: type[Head]) -> None:
    selector = head(build)
    assert torch.equal(score(selector.train(), TEXTS, CLIPS), score(selector.eval(), TEXTS, CLIPS))


def layer_norm(x: list[float], norm: torch.nn.LayerNorm) -> list[float]:
    mean = sum(x) / len(x)
    spread = math.sqrt(sum((a - mean) ** 2 for a in x) / len(x) + norm.eps)
    return [w * (a - mean) / spread + b for a, w, b in zip(x, norm.weight.tolist(), norm.bias.tolist(), strict=True)]


def matrix(x: list[float], linear: torch.nn.Linear) -> list[float]:
    return [sum(w * a for w, a in zip(row, x, strict=True)) for row in linear.weight.tolist()]


def gelu(x: list[float]) -> list[float]:
    return [a * (1 + math.erf(a / math.sqrt(2))) / 2 for a in x]


def test_the_scores_of_patches_equal_the_loop() -> None:
    scorer = head().selection.scorer
    scores = scorer(CLIPS.frames, CLIPS.patches)
    for v in range(3):
        for f in range(4):
            frame = gelu(matrix(layer_norm(CLIPS.frames[v, f].tolist(), scorer.narrow[0]), scorer.narrow[1]))
            for p in range(7):
                patch = gelu(matrix(layer_norm(CLIPS.patches[v, f, p].tolist(), scorer.narrow[0]), scorer.narrow[1]))
                judged = math.tanh(matrix(gelu(matrix(patch + frame, scorer.judge[0])), scorer.judge[2])[0])
                assert scores[v, f, p].item() == pytest.approx(judged, abs=1e-5)


def test_the_clip_equals_the_loop_over_frames() -> None:
    selector = head()
    scores = selector.selection.scorer(CLIPS.frames, CLIPS.patches)
    for v in range(3):
        tokens = []
        for f in range(4):
            choice = perturbed_top_k(scores[v, f][None], 2, num_samples=50)[0]
            tokens.append(CLIPS.frames[v, f])
            for slot in range(2):
                tokens.append(sum(choice[slot, p] * CLIPS.patches[v, f, p] for p in range(7)))
        related = selector.selection.joint(torch.stack(tokens)[None])[0]
        mean = sum(related[3 * f] / related[3 * f].norm() for f in range(4)) / 4
        assert torch.allclose(selector.encode_clips(CLIPS)["clip"][v], mean / mean.norm(), atol=1e-5)


def test_at_the_start_it_is_the_mean_of_unit_frames() -> None:
    mean = F.normalize(F.normalize(CLIPS.frames, dim=-1).mean(dim=1), dim=-1)
    assert torch.allclose(TokenShiftSelect(6).encode_clips(CLIPS)["clip"], mean, atol=1e-6)


@BOTH
def test_the_order_of_frames_matters(build: type[Head]) -> None:
    reversed_clips = replace(CLIPS, frames=CLIPS.frames.flip(1), patches=CLIPS.patches.flip(1))
    difference = score(head(build), TEXTS, reversed_clips) - score(head(build), TEXTS, CLIPS)
    assert difference.abs().max() > 1e-3


def test_patches_that_are_not_chosen_do_not_matter() -> None:
    selector = head(sigma=1e-5)
    order = selector.selection.scorer(CLIPS.frames, CLIPS.patches)[0, 0].argsort()
    patches = CLIPS.patches.clone()
    # the lowest patch becomes a copy of the second lowest, which is not chosen either
    patches[0, 0, order[0]] = patches[0, 0, order[1]]
    expected = selector.encode_clips(CLIPS)["clip"]
    assert torch.allclose(selector.encode_clips(replace(CLIPS, patches=patches))["clip"], expected, atol=1e-6)
    patches[0, 0, order[-1]] = patches[0, 0, order[0]]
    assert not torch.allclose(selector.encode_clips(replace(CLIPS, patches=patches))["clip"], expected, atol=1e-3)


def test_text_weights_equal_the_loop_over_frames() -> None:
    selector = head(TextWeightedSelect, frame_scale=4.0)
    frames, texts = selector.encode_clips(CLIPS)["frames"].tolist(), F.normalize(TEXTS.sentence, dim=-1).tolist()
    scores = score(selector, TEXTS, CLIPS)
    for t, text in enumerate(texts):
        for v in range(3):
            cosines = [sum(a * b for a, b in zip(text, frame, strict=True)) for frame in frames[v]]
            length = math.sqrt(sum(c * c for c in cosines))
            powers = [math.exp(4 * c / length) for c in cosines]
            expected = sum(p * c for p, c in zip(powers, cosines, strict=True)) / sum(powers)
            assert scores[t, v].item() == pytest.approx(expected, abs=1e-5)


def test_without_a_scale_all_frames_weigh_alike() -> None:
    selector = head(TextWeightedSelect, frame_scale=0.0)
    frames = selector.encode_clips(CLIPS)["frames"]
    expected = torch.einsum("td,vfd->tvf", F.normalize(TEXTS.sentence, dim=-1), frames).mean(dim=2)
    assert torch.allclose(score(selector, TEXTS, CLIPS), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 0}, "top_k must be >= 1, got 0"),
        ({"num_samples": 1}, "num_samples must be >= 2, got 1"),
        ({"max_frames": 0}, "max_frames must be >= 1, got 0"),
        ({"sigma": 0.0}, "sigma must be a finite number > 0, got 0.0"),
        ({"frame_scale": -1.0}, "frame_scale must be a finite number >= 0, got -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextWeightedSelect(6, **settings)


def test_clips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="clips of 4 frames need max_frames >= 4, got 3"):
        TokenShiftSelect(6, max_frames=3).encode_clips(CLIPS)
    with pytest.raises(ConfigError, match="top_k must be at most 7, the patches of a frame, got 8"):
        TokenShiftSelect(6, top_k=8).encode_clips(CLIPS)

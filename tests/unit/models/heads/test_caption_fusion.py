"""Video and caption score fused, against a loop over captions, and what happens where captions are missing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from conical.core.errors import ConfigError
from conical.models.heads.caption_fusion import CaptionFusion
from conical.models.heads.head import Clips, Texts
from unit.models.heads.head_checks import check_head, random, score

TEXTS = Texts(sentence=random(3, 4, seed=1))
# the second clip has no caption, the third one has one of three
HAS_CAPTION = torch.tensor([[True, True, True], [False, False, False], [False, True, False]])
CLIPS = Clips(frames=2 * random(3, 5, 4, seed=2), captions=3 * random(3, 3, 4, seed=3), has_caption=HAS_CAPTION)
SELECTIONS = pytest.mark.parametrize("selection", ["max", "softmax"])


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


@SELECTIONS
def test_it_does_what_every_head_must(selection: str) -> None:
    check_head(CaptionFusion(4, selection=selection), TEXTS, CLIPS)


@SELECTIONS
def test_it_equals_the_loop_over_captions(selection: str) -> None:
    scores = score(CaptionFusion(4, init_weight=0.4, selection=selection, scale=6.0), TEXTS, CLIPS)
    mean = F.normalize(CLIPS.frames, dim=-1).mean(dim=1).tolist()
    for t, text in enumerate(TEXTS.sentence.tolist()):
        for v in range(3):
            video = cosine(text, mean[v])
            cosines = [
                cosine(text, c) for c, has in zip(CLIPS.captions[v].tolist(), HAS_CAPTION[v], strict=True) if has
            ]
            if not cosines:
                expected = video
            elif selection == "max":
                expected = 0.6 * video + 0.4 * max(cosines)
            else:
                total = sum(math.exp(6 * c) for c in cosines)
                expected = 0.6 * video + 0.4 * sum(math.exp(6 * c) / total * c for c in cosines)
            assert scores[t, v].item() == pytest.approx(expected, abs=1e-6)


@SELECTIONS
def test_what_stands_where_no_caption_is_means_nothing(selection: str) -> None:
    head = CaptionFusion(4, selection=selection)
    captions = CLIPS.captions.masked_fill(~HAS_CAPTION[..., None], math.nan).requires_grad_()
    scores = score(head, TEXTS, replace(CLIPS, captions=captions))
    assert torch.equal(scores, score(head, TEXTS, CLIPS))
    scores.sum().backward()
    assert torch.isfinite(captions.grad).all()
    assert captions.grad[~HAS_CAPTION].abs().max() == 0
    assert torch.isfinite(head.weight_logit.grad)


@SELECTIONS
def test_padding_with_captions_that_are_none_changes_nothing(selection: str) -> None:
    head = CaptionFusion(4, selection=selection)
    features = head.encode_clips(CLIPS)
    padded = {
        "clip": features["clip"],
        "captions": torch.cat([features["captions"], torch.zeros(3, 2, 4)], dim=1),
        "has_caption": torch.cat([HAS_CAPTION, torch.zeros(3, 2, dtype=torch.bool)], dim=1),
    }
    texts = head.encode_texts(TEXTS)
    assert torch.allclose(head.similarity(texts, padded), head.similarity(texts, features), atol=1e-6)


def test_the_order_of_captions_does_not_matter() -> None:
    order = torch.tensor([2, 0, 1])
    permuted = replace(CLIPS, captions=CLIPS.captions[:, order], has_caption=HAS_CAPTION[:, order])
    assert torch.allclose(score(CaptionFusion(4), TEXTS, permuted), score(CaptionFusion(4), TEXTS, CLIPS), atol=1e-6)


@pytest.mark.parametrize(
    "clips", [Clips(frames=CLIPS.frames), replace(CLIPS, has_caption=torch.zeros_like(HAS_CAPTION))]
)
def test_without_captions_the_video_alone_is_scored(clips: Clips) -> None:
    head = CaptionFusion(4, init_weight=0.9)
    scores = score(head, TEXTS, clips)
    mean = F.normalize(F.normalize(CLIPS.frames, dim=-1).mean(dim=1), dim=-1)
    assert torch.allclose(scores, F.normalize(TEXTS.sentence, dim=-1) @ mean.T, atol=1e-6)
    # DDP waits for a gradient from each parameter
    scores.sum().backward()
    assert head.weight_logit.grad == 0


def test_the_weight_starts_as_told_and_is_learnt() -> None:
    head = CaptionFusion(4)
    assert head.caption_weight.item() == pytest.approx(0.27)
    scores = score(head, TEXTS, CLIPS)
    scores[0, 0].backward()
    video = score(head, TEXTS, Clips(frames=CLIPS.frames))[0, 0].item()
    caption = (scores[0, 0].item() - 0.73 * video) / 0.27
    # d s / d u = w (1 - w) (s_caption - s_video)
    assert head.weight_logit.grad.item() == pytest.approx(0.27 * 0.73 * (caption - video), abs=1e-5)


def test_a_sharp_softmax_is_the_maximum() -> None:
    sharp = score(CaptionFusion(4, selection="softmax", scale=1e4), TEXTS, CLIPS)
    assert torch.allclose(sharp, score(CaptionFusion(4), TEXTS, CLIPS), atol=1e-5)


def test_each_query_picks_its_own_caption() -> None:
    captions = torch.eye(4)[None, :2]
    clips = Clips(frames=torch.tensor([[[0.0, 0.0, 1.0, 0.0]]]), captions=captions, has_caption=torch.ones(1, 2).bool())
    scores = score(CaptionFusion(4, init_weight=0.5), Texts(sentence=torch.eye(4)), clips)
    assert torch.allclose(scores, torch.tensor([[0.5], [0.5], [0.5], [0.0]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_weight": 0.0}, "init_weight must be above 0 and below 1, got 0.0"),
        ({"init_weight": 1.0}, "init_weight must be above 0 and below 1, got 1.0"),
        ({"selection": "mean"}, "selection must be one of max, softmax; got 'mean'"),
        ({"scale": -1.0}, "scale must be a finite number > 0, got -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CaptionFusion(4, **settings)

"""X-CLIP's four similarities against their formulas a pair at a time."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips, Texts
from conical.models.heads.multi_grained import MultiGrained, attend
from unit.models.heads.pair_properties import (
    LENGTHS,
    WIDTH,
    check_properties,
    mean_vectors,
    moved,
    scores,
    some_clips,
    some_texts,
)
from unit.models.heads.slow_maths import Vector, cosine, dot, mean, softmax, unit

SMALL = {"num_layers": 1, "max_frames": 4, "num_heads": 2}


def slow_attend(values: list[float], temperature: float) -> float:
    return dot(softmax([value / temperature for value in values]), values)


def slow_score(sentence: Vector, words: list[Vector], pooled: Vector, frames: list[Vector], tau: float) -> float:
    video_word = slow_attend([cosine(pooled, word) for word in words], tau)
    sentence_frame = slow_attend([cosine(sentence, frame) for frame in frames], tau)
    per_frame = [slow_attend([cosine(word, frame) for word in words], tau) for frame in frames]
    per_word = [slow_attend([cosine(word, frame) for frame in frames], tau) for word in words]
    frame_word = (slow_attend(per_frame, tau) + slow_attend(per_word, tau)) / 2
    return (cosine(pooled, sentence) + video_word + sentence_frame + frame_word) / 4


@pytest.mark.parametrize("temperature", [0.01, 0.5])
@pytest.mark.parametrize("num_layers", [0, 1])
def test_it_equals_the_slow_reference(num_layers: int, temperature: float) -> None:
    head = moved(MultiGrained(WIDTH, temperature=temperature, **(SMALL | {"num_layers": num_layers})))
    texts, clips = some_texts(), some_clips()
    assert texts.words is not None
    transformed = head.temporal(clips.frames).tolist()
    pooled = [mean([unit(frame) for frame in clip]) for clip in transformed]
    expected = [
        [
            slow_score(sentence, words[:length], video, frames, temperature)
            for video, frames in zip(pooled, clips.frames.tolist(), strict=True)
        ]
        for sentence, words, length in zip(texts.sentence.tolist(), texts.words.tolist(), LENGTHS, strict=True)
    ]
    torch.testing.assert_close(scores(head, texts, clips), torch.tensor(expected, dtype=torch.float64))


def test_a_small_case_by_hand() -> None:
    # so cold that the attention is a maximum; pooled v = (0.6, 0.8) of the frames (1, 0) and (-0.28, 0.96)
    head = MultiGrained(2, num_layers=0, temperature=1e-4)
    texts = Texts(
        sentence=torch.tensor([[0.0, 2.0]]),
        words=torch.tensor([[[5.0, 0.0], [0.0, -1.0], [0.6, 0.8]]]),
        is_word=torch.tensor([[True, True, False]]),
    )
    clips = Clips(frames=torch.tensor([[[1.0, 0.0], [-0.28, 0.96]]]))
    # video-sentence 0.8; video-word max(0.6, -0.8); sentence-frame max(0, 0.96); frame-word 1 from both sides
    torch.testing.assert_close(scores(head, texts, clips), torch.tensor([[(0.8 + 0.6 + 0.96 + 1.0) / 4]]))


def test_a_hot_attention_is_the_mean_over_words_and_frames() -> None:
    head = MultiGrained(WIDTH, num_layers=0, temperature=1e9)
    texts, clips = some_texts(), some_clips()
    assert texts.words is not None
    pooled = mean_vectors(clips).tolist()
    expected = []
    for sentence, words, length in zip(texts.sentence.tolist(), texts.words.tolist(), LENGTHS, strict=True):
        word, row = mean([unit(one) for one in words[:length]]), []
        for video, frames in zip(pooled, clips.frames.tolist(), strict=True):
            frame = mean([unit(one) for one in frames])
            row.append(
                (dot(unit(sentence), video) + dot(word, video) + dot(unit(sentence), frame) + dot(word, frame)) / 4
            )
        expected.append(row)
    torch.testing.assert_close(scores(head, texts, clips), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("num_layers", [0, 1])
def test_what_holds_of_every_head_holds(num_layers: int) -> None:
    check_properties(MultiGrained(WIDTH, temperature=0.2, **(SMALL | {"num_layers": num_layers})))


def test_at_the_start_the_transformer_changes_nothing() -> None:
    texts, clips = some_texts(), some_clips()
    head, plain = MultiGrained(WIDTH).double(), MultiGrained(WIDTH, num_layers=0)
    torch.testing.assert_close(scores(head, texts, clips), scores(plain, texts, clips))
    torch.testing.assert_close(head.vectors(head.encode_clips(clips)), mean_vectors(clips))


def test_frames_are_compared_as_the_tower_gives_them_and_the_video_as_the_transformer_does() -> None:
    head = moved(MultiGrained(WIDTH, **SMALL))
    encoded = head.encode_clips(some_clips())
    expected = [[unit(frame) for frame in clip] for clip in some_clips().frames.tolist()]
    torch.testing.assert_close(encoded["frames"], torch.tensor(expected, dtype=torch.float64))
    pooled = [unit(mean([unit(frame) for frame in clip])) for clip in head.temporal(some_clips().frames).tolist()]
    torch.testing.assert_close(head.vectors(encoded), torch.tensor(pooled, dtype=torch.float64))


def test_attention_over_scores_admits_what_it_is_told() -> None:
    values = torch.tensor([[0.2, 0.9, -0.4], [0.1, 0.3, 0.5]], dtype=torch.float64)
    admitted = torch.tensor([[True, False, True], [True, True, True]])
    expected = [slow_attend([0.2, -0.4], 0.3), slow_attend([0.1, 0.3, 0.5], 0.3)]
    result = attend(values, dim=1, temperature=0.3, admitted=admitted)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64))


def test_attention_over_scores_has_the_right_gradient() -> None:
    values = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    admitted = torch.tensor([True, True, False, True])
    assert torch.autograd.gradcheck(lambda x: attend(x, dim=1, temperature=0.3, admitted=admitted), (values,))


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(importlib.import_module("conical.models.heads.multi_grained"))
    assert (results.attempted, results.failed) == (1, 0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_wrong_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match=f"temperature must be a finite number > 0, got {temperature}"):
        MultiGrained(WIDTH, temperature=temperature)

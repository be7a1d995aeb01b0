"""CLIP4Clip's sequential head: frames behind the transformer, averaged, and the plain mean at its start."""

from __future__ import annotations

import pytest
import torch

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips
from conical.models.heads.seq_transformer import SeqTransformer
from unit.models.heads.pair_properties import (
    WIDTH,
    check_properties,
    mean_scores,
    moved,
    scores,
    some_clips,
    some_texts,
)
from unit.models.heads.slow_maths import cosine, mean, unit


def test_scores_are_cosines_with_the_mean_of_unit_length_transformed_frames() -> None:
    head = moved(SeqTransformer(WIDTH, num_layers=2, max_frames=4, num_heads=2))
    texts, clips = some_texts(), some_clips()
    transformed = head.temporal(clips.frames).tolist()
    expected = [
        [cosine(sentence, mean([unit(frame) for frame in clip])) for clip in transformed]
        for sentence in texts.sentence.tolist()
    ]
    torch.testing.assert_close(scores(head, texts, clips), torch.tensor(expected, dtype=torch.float64))


def test_it_starts_as_the_mean_of_frames() -> None:
    texts, clips = some_texts(), some_clips()
    torch.testing.assert_close(scores(SeqTransformer(WIDTH).double(), texts, clips), mean_scores(texts, clips))


def test_the_start_of_clip_differs_from_the_mean_and_depends_on_the_seed() -> None:
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(scores(SeqTransformer(WIDTH, start="clip").double(), some_texts(), some_clips()))
    assert torch.equal(results[0], results[1])
    assert (results[0] - results[2]).abs().max() > 0.01
    assert (results[0] - mean_scores(some_texts(), some_clips())).abs().max() > 0.01


def test_the_length_of_frames_matters_to_the_transformer_not_to_the_mean() -> None:
    texts, clips = some_texts(), some_clips()
    longer = Clips(frames=clips.frames * torch.tensor([1.0, 5.0, 0.2, 1.0], dtype=torch.float64)[:, None])
    head = SeqTransformer(WIDTH, num_layers=1).double()
    torch.testing.assert_close(scores(head, texts, longer), scores(head, texts, clips))
    head = moved(head)
    assert (scores(head, texts, longer) - scores(head, texts, clips)).abs().max() > 0.01


def test_what_holds_of_every_head_holds() -> None:
    check_properties(SeqTransformer(WIDTH, num_layers=2, max_frames=4, num_heads=2))


def test_its_defaults_are_those_of_the_published_code() -> None:
    head = SeqTransformer(512)
    assert len(head.temporal.resblocks) == 4
    assert head.temporal.positions.shape == (64, 512)
    assert head.temporal.resblocks[0].attn.num_heads == 8


def test_settings_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="num_layers must be >= 1"):
        SeqTransformer(WIDTH, num_layers=0)
    with pytest.raises(ConfigError, match="clips of 4 frames need max_frames >= 4, got 3"):
        SeqTransformer(WIDTH, max_frames=3).double().encode_clips(some_clips())

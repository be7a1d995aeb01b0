"""X-Pool against its formulas a pair at a time, and its dropout."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips, Texts
from conical.models.heads.text_conditioned_pool import TextConditionedPool
from unit.models.heads.pair_properties import (
    WIDTH,
    check_properties,
    mean_vectors,
    moved,
    scores,
    some_clips,
    some_texts,
)
from unit.models.heads.slow_maths import Vector, add, cosine, dot, layer_norm, linear, softmax


def slow_score(head: TextConditionedPool, sentence: Vector, frames: list[Vector]) -> float:
    query = linear(head.query, layer_norm(head.norm_inputs, sentence))
    normed = [layer_norm(head.norm_inputs, frame) for frame in frames]
    attention = softmax([dot(query, linear(head.key, frame)) / math.sqrt(WIDTH) for frame in normed])
    pooled = [0.0] * WIDTH
    for weight, frame in zip(attention, normed, strict=True):
        pooled = add(pooled, [weight * x for x in linear(head.value, frame)])
    pooled = layer_norm(head.norm_pooled, linear(head.output, pooled))
    result = layer_norm(head.norm_result, add(pooled, linear(head.linear, pooled)))
    return cosine(sentence, result)


def slow_scores(head: TextConditionedPool) -> torch.Tensor:
    sentences, clips = some_texts().sentence.tolist(), some_clips().frames.tolist()
    rows = [[slow_score(head, sentence, frames) for frames in clips] for sentence in sentences]
    return torch.tensor(rows, dtype=torch.float64)


def test_it_equals_the_slow_reference() -> None:
    head = moved(TextConditionedPool(WIDTH))
    assert isinstance(head, TextConditionedPool)
    torch.testing.assert_close(scores(head, some_texts(), some_clips()), slow_scores(head))


def test_it_equals_the_slow_reference_at_its_start() -> None:
    head = TextConditionedPool(WIDTH).double().eval()
    torch.testing.assert_close(scores(head, some_texts(), some_clips()), slow_scores(head))


def test_a_small_case_by_hand() -> None:
    # the norm makes (1, -1) of (3, 1) and (-1, 1) of (0, 2): logits are +-2 / sqrt(2), which favour the like frame,
    # the mean points its way, and the norms and the doubling behind it keep the direction
    head = TextConditionedPool(2).eval()
    texts = Texts(sentence=torch.tensor([[3.0, 1.0], [0.0, 2.0]]))
    clips = Clips(frames=torch.tensor([[[5.0, 1.0], [1.0, 5.0]]]))
    same, other = 1 / math.sqrt(5), 1 / math.sqrt(2)
    torch.testing.assert_close(scores(head, texts, clips), torch.tensor([[same], [other]]), atol=1e-4, rtol=0)


def test_a_clip_of_like_frames_has_nothing_to_choose() -> None:
    head = moved(TextConditionedPool(WIDTH))
    frame = some_clips().frames[:, :1]
    once = scores(head, some_texts(), Clips(frames=frame))
    torch.testing.assert_close(scores(head, some_texts(), Clips(frames=frame.expand(-1, 6, -1))), once)


def test_the_order_of_frames_does_not_matter() -> None:
    head = moved(TextConditionedPool(WIDTH))
    flipped = Clips(frames=some_clips().frames.flip(1))
    torch.testing.assert_close(scores(head, some_texts(), flipped), scores(head, some_texts(), some_clips()))


def test_what_holds_of_every_head_holds() -> None:
    check_properties(TextConditionedPool(WIDTH))


def test_the_vector_of_a_clip_is_the_mean_of_its_frames_whatever_was_learned() -> None:
    head = moved(TextConditionedPool(WIDTH))
    torch.testing.assert_close(head.vectors(head.encode_clips(some_clips())), mean_vectors(some_clips()))


def test_dropout_acts_in_training_and_differs_from_pair_to_pair() -> None:
    head = TextConditionedPool(WIDTH).double()
    one_text = Texts(sentence=some_texts().sentence[:1].expand(4, -1))
    one_clip = Clips(frames=some_clips().frames[:1].expand(5, -1, -1))
    torch.manual_seed(0)
    assert len(scores(head.train(), one_text, one_clip).flatten().unique()) > 10
    assert len(scores(head.eval(), one_text, one_clip).flatten().unique()) == 1


def test_what_is_dropped_is_the_linear_layer_and_nothing_beside_it() -> None:
    head = moved(TextConditionedPool(WIDTH, dropout=1 - 1e-12)).train()
    without = moved(TextConditionedPool(WIDTH))
    nn.init.zeros_(without.linear.weight)
    nn.init.zeros_(without.linear.bias)
    torch.testing.assert_close(scores(head, some_texts(), some_clips()), scores(without, some_texts(), some_clips()))


def test_without_dropout_training_gives_what_scoring_gives() -> None:
    head = TextConditionedPool(WIDTH, dropout=0.0).double().train()
    assert torch.equal(scores(head, some_texts(), some_clips()), scores(head.eval(), some_texts(), some_clips()))


def test_its_default_is_the_papers() -> None:
    assert TextConditionedPool(WIDTH).dropout.p == 0.3


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_wrong_dropout_is_refused(dropout: float) -> None:
    with pytest.raises(ConfigError, match=rf"dropout must be in \[0, 1\), got {dropout}"):
        TextConditionedPool(WIDTH, dropout=dropout)

"""DRL's weighted token-wise interaction against its formula a pair at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conical.core.errors import ConfigError
from conical.models.heads.head import Clips, Texts
from conical.models.heads.token_wise import TokenWise
from unit.models.heads.pair_properties import LENGTHS, WIDTH, check_properties, moved, scores, some_clips, some_texts
from unit.models.heads.slow_maths import Vector, cosine, linear, mean, softmax, unit

SMALL = {"num_layers": 1, "max_frames": 4, "num_heads": 2}


def logit(branch: nn.Sequential, token: Vector) -> float:
    for layer in branch:
        token = linear(layer, token) if isinstance(layer, nn.Linear) else [max(x, 0.0) for x in token]
    return token[0]


def slow_score(head: TokenWise, words: list[Vector], frames: list[Vector]) -> float:
    word_weights = softmax([logit(head.word_weight, word) for word in words])
    frame_weights = softmax([logit(head.frame_weight, frame) for frame in frames])
    total = 0.0
    for word, weight in zip(words, word_weights, strict=True):
        total += weight * max(cosine(word, frame) for frame in frames)
    for frame, weight in zip(frames, frame_weights, strict=True):
        total += weight * max(cosine(word, frame) for word in words)
    return total / 2


@pytest.mark.parametrize("num_layers", [0, 1])
@pytest.mark.parametrize("weight_layers", [1, 2, 3])
def test_it_equals_the_slow_reference(weight_layers: int, num_layers: int) -> None:
    head = moved(TokenWise(WIDTH, weight_layers=weight_layers, **(SMALL | {"num_layers": num_layers})))
    assert isinstance(head, TokenWise)
    texts, clips = some_texts(), some_clips()
    assert texts.words is not None
    transformed = head.temporal(clips.frames).tolist()
    expected = [
        [slow_score(head, words[:length], frames) for frames in transformed]
        for words, length in zip(texts.words.tolist(), LENGTHS, strict=True)
    ]
    torch.testing.assert_close(scores(head, texts, clips), torch.tensor(expected, dtype=torch.float64))


def test_a_small_case_by_hand() -> None:
    # equal weights; cosines of two words and three frames: [[1, 0, -1], [0, 1, 0]], of the other clip all -1 or 0
    head = TokenWise(2, num_layers=0)
    for branch in (head.word_weight, head.frame_weight):
        nn.init.zeros_(branch[-1].weight)
    texts = Texts(
        sentence=torch.zeros(1, 2),
        words=torch.tensor([[[2.0, 0.0], [0.0, 3.0], [9.0, 9.0]]]),
        is_word=torch.tensor([[True, True, False]]),
    )
    clips = Clips(frames=torch.tensor([[[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0]], [[-1.0, 0.0], [-2.0, 0.0], [-3.0, 0.0]]]))
    # words: (1 + 1) / 2; frames: (1 + 1 + 0) / 3.   words: (-1 + 0) / 2; frames: 0
    torch.testing.assert_close(scores(head, texts, clips), torch.tensor([[(1 + 2 / 3) / 2, -0.25]]))


def test_a_text_that_is_unlike_every_frame_is_not_lifted_by_what_stands_behind_it() -> None:
    head = TokenWise(2, num_layers=0)
    texts = Texts(
        sentence=torch.zeros(1, 2),
        words=torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]),
        is_word=torch.tensor([[True, False]]),
    )
    torch.testing.assert_close(scores(head, texts, Clips(frames=torch.tensor([[[-1.0, 0.0]]]))), torch.tensor([[-1.0]]))


@pytest.mark.parametrize("num_layers", [0, 1])
def test_what_holds_of_every_head_holds(num_layers: int) -> None:
    check_properties(TokenWise(WIDTH, **(SMALL | {"num_layers": num_layers})))


def test_at_the_start_the_transformer_changes_nothing() -> None:
    torch.manual_seed(0)
    head, plain = TokenWise(WIDTH).double(), TokenWise(WIDTH, num_layers=0).double()
    plain.word_weight.load_state_dict(head.word_weight.state_dict())
    # its output is 2 f: the weights of frames see that, the cosines do not
    nn.init.zeros_(head.frame_weight[-1].weight)
    nn.init.zeros_(plain.frame_weight[-1].weight)
    texts, clips = some_texts(), some_clips()
    torch.testing.assert_close(scores(head, texts, clips), scores(plain, texts, clips))


def test_weights_start_small_and_sum_to_one_over_words_alone() -> None:
    torch.manual_seed(0)
    head = TokenWise(512)
    for branch in (head.word_weight, head.frame_weight):
        assert [layer.weight.std().item() for layer in branch if isinstance(layer, nn.Linear)] == pytest.approx(
            [0.02, 0.02], rel=0.1
        )
        assert not branch[0].bias.any()
    encoded = moved(TokenWise(WIDTH)).encode_texts(some_texts())
    torch.testing.assert_close(encoded["word_weights"].sum(dim=1), torch.ones(4, 1, dtype=torch.float64))
    assert not encoded["word_weights"][~encoded["is_word"]].any()


def test_the_vector_of_a_clip_is_the_mean_of_its_unit_length_frames() -> None:
    head = moved(TokenWise(WIDTH, **SMALL))
    expected = [unit(mean([unit(frame) for frame in clip])) for clip in head.temporal(some_clips().frames).tolist()]
    vectors = head.vectors(head.encode_clips(some_clips()))
    torch.testing.assert_close(vectors, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_layers": 4}, "weight_layers must be 1, 2 or 3, got 4"),
        ({"weight_layers": 0}, "weight_layers must be 1, 2 or 3, got 0"),
        ({"num_layers": -1}, "num_layers must be >= 1, or 0 .*, got -1"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenWise(WIDTH, **settings)

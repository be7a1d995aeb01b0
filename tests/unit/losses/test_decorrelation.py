"""Channel decorrelation against a correlation matrix built a number at a time, and what must not change it."""

from __future__ import annotations

import doctest
import importlib
import math
from dataclasses import replace

import jaxtyping
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from beartype import beartype

from conical.losses import decorrelation
from conical.losses.compared import Comparison
from conical.losses.decorrelation import channel_decorrelation

# words of each row, of four positions
LENGTHS = (4, 2, 3, 1)
NUM_CHANNELS = 3


def example(video_ids: tuple[int, ...] = (7, 8, 9, 5), frames_of: tuple[int, ...] = (0, 1, 2, 3)) -> Comparison:
    """Four rows; row i has the frames of clip `frames_of[i]`."""
    numbers = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=numbers, dtype=torch.float64)

    is_word = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
    words = F.normalize(some(4, 4, NUM_CHANNELS), dim=-1) * is_word[..., None]
    word_weights = some(4, 4).masked_fill(~is_word, -math.inf).softmax(dim=1)[..., None]
    frames, frame_weights = F.normalize(some(4, 2, NUM_CHANNELS), dim=-1), some(4, 2, 1).softmax(dim=1)
    return Comparison(
        similarity={},
        video_ids=torch.tensor(video_ids),
        texts={"words": words, "word_weights": word_weights, "is_word": is_word},
        videos={"frames": frames[list(frames_of)], "frame_weights": frame_weights[list(frames_of)]},
    )


def rows_of(comparison: Comparison, rows: list[int]) -> Comparison:
    return Comparison(
        similarity={},
        video_ids=comparison.video_ids[rows],
        texts={name: feature[rows] for name, feature in comparison.texts.items()},
        videos={name: feature[rows] for name, feature in comparison.videos.items()},
    )


def slow_correlation(pairs: list[tuple[float, list[float], list[float]]]) -> list[list[float]]:
    """Weighted correlation of each channel of the first vectors with each of the second."""

    def mean_of(value) -> float:
        return sum(weight * value(text, video) for weight, text, video in pairs)

    matrix = []
    for c in range(NUM_CHANNELS):
        row = []
        for d in range(NUM_CHANNELS):
            text_mean = mean_of(lambda text, video, c=c: text[c])
            video_mean = mean_of(lambda text, video, d=d: video[d])
            covariance = mean_of(lambda t, v, c=c, d=d, a=text_mean, b=video_mean: (t[c] - a) * (v[d] - b))
            text_spread = math.sqrt(mean_of(lambda text, video, c=c, a=text_mean: (text[c] - a) ** 2))
            video_spread = math.sqrt(mean_of(lambda text, video, d=d, b=video_mean: (video[d] - b) ** 2))
            row.append(covariance / (text_spread * video_spread))
        matrix.append(row)
    return matrix


def slow_loss(comparison: Comparison, diagonal: float, off_diagonal: float) -> float:
    ids = comparison.video_ids.tolist()
    by_word, by_frame = [], []
    for row, video in enumerate(ids):
        share = 1 / (ids.count(video) * len(set(ids)))
        words = [
            (weight[0], word)
            for weight, word, is_word in zip(
                *(comparison.texts[name][row].tolist() for name in ("word_weights", "words", "is_word")), strict=True
            )
            if is_word
        ]
        frames = [
            (weight[0], frame)
            for weight, frame in zip(
                *(comparison.videos[name][row].tolist() for name in ("frame_weights", "frames")), strict=True
            )
        ]

        def cosine(a: list[float], b: list[float]) -> float:
            return sum(x * y for x, y in zip(a, b, strict=True))

        for weight, word in words:
            nearest = max((frame for _, frame in frames), key=lambda frame, word=word: cosine(word, frame))
            by_word.append((share * weight, word, nearest))
        for weight, frame in frames:
            nearest = max((word for _, word in words), key=lambda word, frame=frame: cosine(word, frame))
            by_frame.append((share * weight, nearest, frame))
    first, second = slow_correlation(by_word), slow_correlation(by_frame)
    total = 0.0
    for c in range(NUM_CHANNELS):
        for d in range(NUM_CHANNELS):
            value = (first[c][d] + second[c][d]) / 2
            total += diagonal * (value - 1) ** 2 if c == d else off_diagonal * value**2
    return total


@pytest.mark.parametrize("video_ids", [(7, 8, 9, 5), (7, 8, 7, 7)], ids=["distinct", "shared"])
@pytest.mark.parametrize(("diagonal", "off_diagonal"), [(1.0, 0.06), (0.14, 0.0), (0.0, 2.0)])
def test_it_equals_the_slow_reference(video_ids: tuple[int, ...], diagonal: float, off_diagonal: float) -> None:
    comparison = example(video_ids)
    loss = channel_decorrelation(comparison, diagonal=diagonal, off_diagonal=off_diagonal)
    assert loss.item() == pytest.approx(slow_loss(comparison, diagonal, off_diagonal), abs=1e-9)


def test_the_defaults_are_the_published_ones() -> None:
    assert channel_decorrelation(example()).item() == pytest.approx(slow_loss(example(), 1.0, 0.06), abs=1e-9)


def test_channels_that_agree_and_are_independent_lose_nothing() -> None:
    # the four signs of two channels, once each; a word is its own frame
    tokens = torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]], [[-1.0, 1.0]], [[-1.0, -1.0]]], dtype=torch.float64) / 2**0.5
    one = torch.ones(4, 1, 1, dtype=torch.float64)
    comparison = Comparison(
        similarity={},
        video_ids=torch.arange(4),
        texts={"words": tokens, "word_weights": one, "is_word": torch.ones(4, 1, dtype=torch.bool)},
        videos={"frames": tokens, "frame_weights": one},
    )
    assert channel_decorrelation(comparison).item() == pytest.approx(0, abs=1e-9)
    # the frames' channels changed over: nothing agrees (2 x 1), all is redundant (2 x 0.06)
    swapped = replace(comparison, videos={"frames": tokens.flip(-1), "frame_weights": one})
    assert channel_decorrelation(swapped).item() == pytest.approx(2.12, abs=1e-9)


def test_a_video_counts_once_however_many_of_its_captions_are_in_the_batch() -> None:
    comparison = example()
    again = rows_of(comparison, [0, 1, 2, 3, 1, 1])
    assert channel_decorrelation(again).item() == pytest.approx(channel_decorrelation(comparison).item(), abs=1e-12)
    apart = replace(again, video_ids=torch.tensor([0, 1, 2, 3, 4, 5]))
    assert abs(channel_decorrelation(apart).item() - channel_decorrelation(comparison).item()) > 1e-3


def test_a_caption_meets_the_frames_of_its_own_row_only() -> None:
    # rows 0 and 2 are two captions of one clip
    comparison = example(video_ids=(7, 8, 7, 5), frames_of=(0, 1, 0, 3))
    assert channel_decorrelation(comparison).item() == pytest.approx(slow_loss(comparison, 1.0, 0.06), abs=1e-9)


def test_the_order_of_rows_and_what_stands_behind_a_text_do_not_matter() -> None:
    comparison = example(video_ids=(7, 8, 7, 5))
    expected = channel_decorrelation(comparison).item()
    assert channel_decorrelation(rows_of(comparison, [2, 0, 3, 1])).item() == pytest.approx(expected, abs=1e-12)
    texts = dict(comparison.texts)
    texts["words"] = texts["words"].masked_fill(~texts["is_word"][..., None], 1e3)
    assert channel_decorrelation(replace(comparison, texts=texts)).item() == pytest.approx(expected, abs=1e-9)
    longer = {name: F.pad(feature, (0, 0) * (feature.ndim - 2) + (0, 3)) for name, feature in comparison.texts.items()}
    assert channel_decorrelation(replace(comparison, texts=longer)).item() == pytest.approx(expected, abs=1e-12)


def test_the_gradient_is_right_for_embeddings_and_weights() -> None:
    comparison = example(video_ids=(7, 8, 7, 5))
    names = ("words", "word_weights", "frames", "frame_weights")
    given = {**comparison.texts, **comparison.videos}

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        changed = dict(zip(names, tensors, strict=True))
        texts = {name: changed.get(name, tensor) for name, tensor in comparison.texts.items()}
        videos = {name: changed.get(name, tensor) for name, tensor in comparison.videos.items()}
        return channel_decorrelation(replace(comparison, texts=texts, videos=videos))

    assert torch.autograd.gradcheck(loss, [given[name].clone().requires_grad_() for name in names])


def test_a_channel_without_variance_counts_as_unrelated_with_a_finite_gradient() -> None:
    comparison = example()
    words = comparison.texts["words"].clone()
    words[..., 0] = 0.5
    words.requires_grad_()
    loss = channel_decorrelation(replace(comparison, texts={**comparison.texts, "words": words}))
    loss.backward()
    assert words.grad is not None
    assert words.grad.isfinite().all()
    one_row = rows_of(example(), [3])  # one word, whose variance is 0
    assert channel_decorrelation(one_row, off_diagonal=0.0).item() == pytest.approx(NUM_CHANNELS, abs=1e-6)


def test_it_is_of_float32_under_autocast() -> None:
    comparison = example()
    small = replace(
        comparison,
        texts={n: t.float() if t.is_floating_point() else t for n, t in comparison.texts.items()},
        videos={n: t.float() for n, t in comparison.videos.items()},
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = channel_decorrelation(small)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(channel_decorrelation(comparison).item(), abs=1e-5)


def test_features_of_another_head_are_refused_in_one_line() -> None:
    comparison = replace(example(), texts={"text": torch.zeros(4, 3)})
    with pytest.raises(
        ValueError, match="needs words, word_weights, is_word of the texts, got text: use it with the h"
    ):
        channel_decorrelation(comparison)
    with pytest.raises(ValueError, match="needs frames, frame_weights of the videos, got none: use it with the head"):
        channel_decorrelation(replace(example(), videos={}))


@pytest.mark.parametrize("name", ["diagonal", "off_diagonal"])
@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan")])
def test_a_wrong_weight_is_refused(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a finite number >= 0, got {weight}"):
        channel_decorrelation(example(), **{name: weight})


def test_shapes_are_what_the_annotations_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ("Float", "Int"):
        monkeypatch.setattr(decorrelation, shape, getattr(jaxtyping, shape), raising=False)
    for name in ("_taken", "_row_weights", "_correlation", "channel_decorrelation"):
        checked = jaxtyping.jaxtyped(typechecker=beartype)(getattr(decorrelation, name))
        monkeypatch.setattr(decorrelation, name, checked)
    assert decorrelation.channel_decorrelation(example()).ndim == 0


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(importlib.import_module("conical.losses.decorrelation"))
    assert (results.attempted, results.failed) == (4, 0)

"""What every head must do with the rows it is given, as checks that a head's own test calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from conical.models.heads.head import Clips, Features, Head, PoolingHead, Texts
from unit.models.heads.slow_maths import cosine, mean, unit

WIDTH = 8
# words of each of the four example texts, of five positions
LENGTHS = (5, 2, 4, 1)


def some_texts(dtype: torch.dtype = torch.float64) -> Texts:
    """Four texts of up to five words, with finite numbers behind the shorter ones."""
    numbers = torch.Generator().manual_seed(1)
    is_word = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return Texts(
        sentence=3 * torch.randn(len(LENGTHS), WIDTH, generator=numbers, dtype=torch.float64).to(dtype),
        words=3 * torch.randn(len(LENGTHS), max(LENGTHS), WIDTH, generator=numbers, dtype=torch.float64).to(dtype),
        is_word=is_word,
    )


def some_clips(dtype: torch.dtype = torch.float64) -> Clips:
    """Three clips of four frames."""
    numbers = torch.Generator().manual_seed(2)
    return Clips(frames=3 * torch.randn(3, 4, WIDTH, generator=numbers, dtype=torch.float64).to(dtype))


def moved(head: Head) -> Head:
    """The head in float64, without dropout, at parameters that are special in nothing."""
    numbers = torch.Generator().manual_seed(3)
    head = head.double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=numbers, dtype=torch.float64)
    return head


def scores(head: Head, texts: Texts, clips: Clips) -> Tensor:
    return head.similarity(head.encode_texts(texts), head.encode_clips(clips))


def mean_vectors(clips: Clips) -> Tensor:
    """The mean of each clip's unit-length frames, of unit length."""
    rows = [unit(mean([unit(frame) for frame in clip])) for clip in clips.frames.tolist()]
    return torch.tensor(rows, dtype=torch.float64)


def mean_scores(texts: Texts, clips: Clips) -> Tensor:
    """Cosines of sentences with the mean of frames."""
    vectors = mean_vectors(clips).tolist()
    rows = [[cosine(sentence, vector) for vector in vectors] for sentence in texts.sentence.tolist()]
    return torch.tensor(rows, dtype=torch.float64)


def check_properties(head: Head) -> None:
    """All that holds of a head whatever its method."""
    head = moved(head)
    _check_range(head)
    _check_rows(head)
    _check_blocks(head)
    _check_rows_that_are_filled_up(head)
    _check_what_is_no_word(head)
    _check_gradients(head)
    _check_precision(head.float())


def _rows(features: Features, rows: Tensor) -> Features:
    return {name: feature[rows] for name, feature in features.items()}


def _text_rows(texts: Texts, rows: Tensor) -> Texts:
    assert texts.words is not None
    assert texts.is_word is not None
    return Texts(sentence=texts.sentence[rows], words=texts.words[rows], is_word=texts.is_word[rows])


def _check_range(head: Head) -> None:
    similarity = scores(head, some_texts(), some_clips())
    assert similarity.shape == (4, 3)
    assert similarity.abs().max() <= 1 + 1e-9
    assert similarity.std() > 1e-3
    text = head.encode_texts(some_texts())["text"].tolist()
    assert text == [pytest.approx(unit(sentence)) for sentence in some_texts().sentence.tolist()]
    vectors = head.vectors(head.encode_clips(some_clips()))
    assert vectors.shape == (3, WIDTH)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3, dtype=torch.float64))


def _check_rows(head: Head) -> None:
    """One row alone, and rows in another order, are encoded as among the others."""
    texts, clips = some_texts(), some_clips()
    encoded_texts, encoded_clips = head.encode_texts(texts), head.encode_clips(clips)
    for rows in (torch.tensor([2, 0, 3, 1]), torch.tensor([1])):
        torch.testing.assert_close(head.encode_texts(_text_rows(texts, rows)), _rows(encoded_texts, rows))
    for rows in (torch.tensor([1, 2, 0]), torch.tensor([2])):
        torch.testing.assert_close(head.encode_clips(Clips(frames=clips.frames[rows])), _rows(encoded_clips, rows))
    order, other = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    shuffled = scores(head, _text_rows(texts, order), Clips(frames=clips.frames[other]))
    torch.testing.assert_close(shuffled, scores(head, texts, clips)[order][:, other])


def _check_blocks(head: Head) -> None:
    texts, clips = head.encode_texts(some_texts()), head.encode_clips(some_clips())
    whole = head.similarity(texts, clips)
    for first in (torch.tensor([0]), torch.tensor([1, 2, 3])):
        for second in (torch.tensor([0, 1]), torch.tensor([2])):
            block = head.similarity(_rows(texts, first), _rows(clips, second))
            torch.testing.assert_close(block, whole[first][:, second])


def _check_rows_that_are_filled_up(head: Head) -> None:
    """Zeros behind the positions of encoded texts, as joining them with longer ones puts there, do not matter."""
    texts, clips = head.encode_texts(some_texts()), head.encode_clips(some_clips())
    longer = {
        name: F.pad(feature, (0, 0) * (feature.ndim - 2) + (0, 3)) if feature.ndim > 2 or name == "is_word" else feature
        for name, feature in texts.items()
    }
    torch.testing.assert_close(head.similarity(longer, clips), head.similarity(texts, clips))


def _check_what_is_no_word(head: Head) -> None:
    """Neither what stands behind a text nor how much of it does matter, be it infinite."""
    texts = some_texts()
    assert texts.words is not None
    assert texts.is_word is not None
    expected = scores(head, texts, some_clips())
    for filling in (0.0, 1e6, float("inf"), float("nan")):
        words = texts.words.masked_fill(~texts.is_word[..., None], filling).requires_grad_()
        similarity = scores(head, replace(texts, words=words), some_clips())
        torch.testing.assert_close(similarity, expected)
        if not head.needs_words:
            continue
        head.zero_grad()
        similarity.sum().backward()
        assert words.grad is not None
        assert not words.grad[~texts.is_word].any()
        for learned in (words, *head.parameters()):
            assert learned.grad is None or bool(learned.grad.isfinite().all())
    longer = Texts(
        sentence=texts.sentence,
        words=torch.cat([texts.words, 5 * torch.ones_like(texts.words)], dim=1),
        is_word=torch.cat([texts.is_word, torch.zeros_like(texts.is_word)], dim=1),
    )
    torch.testing.assert_close(scores(head, longer, some_clips()), expected)


def _check_gradients(head: Head) -> None:
    """Towers and parameters all learn from the scores."""
    texts, clips = some_texts(), some_clips()
    assert texts.words is not None
    inputs = [texts.sentence, texts.words, clips.frames]
    for given in inputs:
        given.requires_grad_()
    numbers = torch.Generator().manual_seed(4)
    similarity = scores(head, texts, clips)
    head.zero_grad()
    (similarity * torch.randn(similarity.shape, generator=numbers, dtype=torch.float64)).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name
    assert clips.frames.grad is not None
    assert clips.frames.grad.abs().amax(dim=2).min() > 0
    from_texts = texts.words if head.needs_words else texts.sentence
    assert from_texts.grad is not None
    assert from_texts.grad.abs().amax(dim=-1).max(dim=-1).values.min() > 0


def _check_precision(head: Head) -> None:
    """Scores are of float32, in number too, when the step around them runs in bfloat16."""
    texts, clips = some_texts(torch.float32), some_clips(torch.float32)
    expected = scores(head, texts, clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded_texts, encoded_clips = head.encode_texts(texts), head.encode_clips(clips)
        similarity = head.similarity(encoded_texts, encoded_clips)
    if isinstance(head, PoolingHead):  # its product is the base's, around which the engine turns autocast off
        similarity = head.similarity(encoded_texts, encoded_clips)
    for feature in (similarity, *encoded_texts.values(), *encoded_clips.values()):
        assert feature.dtype in (torch.float32, torch.bool)
    torch.testing.assert_close(similarity, expected)

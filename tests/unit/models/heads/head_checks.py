"""What every head must do, whatever it computes; tests call these on heads with weights of their own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from conical.models.heads.head import Clips, Head, PoolingHead, Texts


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_random_weights(head: nn.Module, *, std: float = 0.3, seed: int = 7) -> nn.Module:
    """The head with noise on each parameter, so that nothing is zero by its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += std * torch.randn(parameter.shape, generator=generator)
    return head


def rows_of(part: Texts | Clips, rows: Tensor) -> Texts | Clips:
    return type(part)(**{name: None if value is None else value[rows] for name, value in vars(part).items()})


def score(head: Head, texts: Texts, clips: Clips) -> Tensor:
    return head.similarity(head.encode_texts(texts), head.encode_clips(clips))


def check_head(head: Head, texts: Texts, clips: Clips) -> None:
    """Rows are independent, blocks equal the whole, scores are float32 in [-1, 1], each parameter gets a gradient."""
    whole = score(head, texts, clips)
    num_texts, num_clips = len(texts.sentence), len(clips.frames)
    assert whole.shape == (num_texts, num_clips)
    assert whole.dtype == torch.float32
    assert whole.abs().max() <= 1 + 1e-6
    assert whole.std() > 1e-3
    _check_rows(head, texts, clips, whole)
    _check_autocast(head, texts, clips, whole)
    vectors = head.vectors(head.encode_clips(clips))
    assert vectors.shape == clips.frames[:, 0].shape
    assert torch.allclose(vectors.norm(dim=1), torch.ones(num_clips))
    head.zero_grad()
    (whole * random(*whole.shape, seed=9)).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def _check_rows(head: Head, texts: Texts, clips: Clips, whole: Tensor) -> None:
    text_order, clip_order = torch.arange(len(whole)).flip(0), torch.arange(whole.shape[1]).roll(1)
    permuted = score(head, rows_of(texts, text_order), rows_of(clips, clip_order))
    assert torch.allclose(permuted, whole[text_order][:, clip_order], atol=1e-6)
    text_features, clip_features = head.encode_texts(texts), head.encode_clips(clips)
    assert all(len(value) == len(whole) for value in text_features.values())
    assert all(len(value) == whole.shape[1] for value in clip_features.values())
    for i in range(len(whole)):
        for j in range(whole.shape[1]):
            one = head.similarity(_row(text_features, i), _row(clip_features, j))
            assert torch.allclose(one, whole[i : i + 1, j : j + 1], atol=1e-6), (i, j)
    alone = head.encode_clips(rows_of(clips, torch.tensor([1])))
    for name, value in alone.items():
        assert torch.allclose(value.float(), clip_features[name][1:2].float(), atol=1e-6), name


def _row(features: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: value[row : row + 1] for name, value in features.items()}


def _check_autocast(head: Head, texts: Texts, clips: Clips, whole: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = head.encode_texts(texts), head.encode_clips(clips)
        inside = head.similarity(*encoded)
    if isinstance(head, PoolingHead):  # its product is the base's, around which the engine turns autocast off
        inside = head.similarity(*encoded)
    assert inside.dtype == torch.float32
    assert torch.allclose(inside, whole, atol=1e-6)

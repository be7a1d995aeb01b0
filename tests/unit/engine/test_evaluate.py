"""Equal texts and equal clips get equal embeddings and scores, wherever in the batches they stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from conical.engine import embedding as evaluation
from conical.engine.embedding import EvaluationSet, cosines, embed_texts, embed_videos
from conical.engine.options import EvaluateOptions
from conical.engine.scorer import Scorer
from conical.engine.stored_frames import ChosenFrames
from conical.metrics import EvaluationName

WORDS = ["a", "red", "dog", "runs", "past", "the", "old", "house", "while", "it", "rains", "and", "nobody", "looks"]
FRAMES = np.random.default_rng(0).integers(0, 256, size=(5, 2, 32, 32, 3), dtype=np.uint8)


class CountingEncoder:
    """Embeds rows that depend on the company they are in, as a batched product's last digits do."""

    training = False

    def __init__(self) -> None:
        self.seen: list[object] = []

    def parameters(self):
        return iter([torch.zeros(1)])

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        self.seen += texts
        return torch.tensor([[len(text), sum(map(ord, text))] for text in texts])

    def read(self, texts: list[str]) -> torch.Tensor:
        return self._embed(self.tokenize(texts).double().sum(dim=1))

    def encode_texts(self, vectors: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"text": vectors}

    def image_tower(self, frames: torch.Tensor) -> torch.Tensor:
        self.seen += [clip.numpy().tobytes() for clip in frames]
        return self._embed(frames.double().mean(dim=(1, 2, 3, 4)))

    def encode_clips(self, vectors: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"clip": vectors}

    def _embed(self, seeds: torch.Tensor) -> torch.Tensor:
        rows = torch.stack([torch.cos(seeds * number) for number in (1, 2, 3, 5)], dim=1)
        return F.normalize(rows + 1e-6 * len(self.seen), dim=-1).float()


def test_equal_texts_are_embedded_once_whatever_their_batch() -> None:
    texts = [("a dog",), ("a cat",), ("a cow",), ("a dog",), ("a cat", "it sleeps"), ("it sleeps", "a cat"), ("a dog",)]
    encoder = CountingEncoder()
    embedded = embed_texts(encoder, texts, batch_size=2).vectors
    assert encoder.seen == ["a dog", "a cat", "a cow", "it sleeps"]
    assert torch.equal(embedded[0], embedded[3])
    assert torch.equal(embedded[0], embedded[6])
    assert not torch.equal(embedded[0], embedded[2])
    # a mean does not ask for the order of its two pieces
    assert torch.equal(embedded[4], embedded[5])
    assert embedded.norm(dim=1) == pytest.approx(torch.ones(7))


def test_a_split_text_is_the_normalised_mean_of_its_pieces() -> None:
    pieces = embed_texts(CountingEncoder(), [("a dog",), ("a cat",), ("a cow",)], batch_size=3).vectors
    text = embed_texts(CountingEncoder(), [("a dog", "a cat", "a cow"), ("a cat",)], batch_size=3).vectors
    torch.testing.assert_close(text[0], F.normalize(pieces.mean(dim=0), dim=0))
    torch.testing.assert_close(text[1], pieces[1])


@pytest.mark.parametrize("is_chosen", [False, True])
def test_clips_of_the_same_frames_are_embedded_once(is_chosen: bool) -> None:
    stored = FRAMES[[0, 1, 2, 0, 3, 2]]
    encoder = CountingEncoder()
    embedded = embed_videos(encoder, ChosenFrames(stored, (0, 1)) if is_chosen else stored, batch_size=2)["clip"]
    assert encoder.seen == [FRAMES[number].tobytes() for number in range(4)]
    assert torch.equal(embedded[0], embedded[3])
    assert torch.equal(embedded[2], embedded[5])
    assert len({tuple(row.tolist()) for row in embedded}) == 4


def test_clips_that_differ_in_one_pixel_are_two() -> None:
    other = FRAMES[:1].copy()
    other[0, -1, -1, -1, -1] ^= 1
    encoder = CountingEncoder()
    embed_videos(encoder, np.concatenate([FRAMES[:1], other]), batch_size=2)
    assert len(encoder.seen) == 2


def test_ranks_share_the_distinct_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [("a",), ("a",), ("a",), ("b",), ("c",), ("d",)]
    seen = []
    monkeypatch.setattr(evaluation, "world_size", lambda: 2)
    for number in range(2):
        encoder = CountingEncoder()
        monkeypatch.setattr(evaluation, "rank", lambda number=number: number)
        monkeypatch.setattr(evaluation, "gather_rows", lambda rows: torch.cat([rows, rows]))
        embed_texts(encoder, texts, batch_size=8)
        seen.append(encoder.seen)
    assert seen == [["a", "b"], ["c", "d"]]


def test_equal_rows_score_equally_at_the_edges_of_a_product_too() -> None:
    draw = torch.Generator().manual_seed(0)
    row = F.normalize(torch.randn(1, 64, generator=draw), dim=-1)
    video = F.normalize(torch.randn(13, 64, generator=draw), dim=-1)
    scores = cosines(row.expand(7, 64), video)
    assert scores.shape == (7, 13)
    assert scores.dtype == np.float32
    assert (scores == scores[0]).all()
    turned = cosines(video, row.expand(7, 64))
    assert (turned == turned[:, :1]).all()
    np.testing.assert_allclose(scores, row.expand(7, 64).numpy() @ video.numpy().T, atol=1e-6)
    mixed = torch.cat([video[:3], row, video[:2], row])
    np.testing.assert_allclose(cosines(mixed, video), mixed.numpy() @ video.numpy().T, atol=1e-6)


def test_equal_captions_of_two_videos_tie(small_encoder) -> None:
    texts = [(" ".join(WORDS[start : start + 4]),) for start in range(8)]
    texts[7] = texts[0]
    data = EvaluationSet(
        split="test",
        video_ids=tuple("abcdefgh"),
        frames=FRAMES[[0, 1, 2, 3, 4, 1, 2, 0]],
        texts=tuple(texts),
        text_video=np.arange(8),
    )
    # 8 texts in batches of 3: the last one has other company than the first
    scorer = Scorer(small_encoder, EvaluateOptions(batch_size=3), sets={"test": data})
    found = scorer.rank(EvaluationName(split="test"), has_intervals=False)
    assert (found.similarity[0] == found.similarity[7]).all()
    assert (found.similarity[:, 0] == found.similarity[:, 7]).all()
    assert found.metrics.t2v.has_ties
    assert found.metrics.v2t.has_ties

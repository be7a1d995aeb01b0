"""Embed a split, and score its texts against its clips.

Texts longer than the text tower are split; the embedding of such a text is the normalised mean of its pieces'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from numpy.typing import NDArray

from conical.core.errors import DataError
from conical.distributed import gather_rows, max_over_ranks, rank, world_size
from conical.engine.stored_frames import ChosenFrames, Frames
from conical.models.dual_encoder import DualEncoder
from conical.models.heads.head import Features, PoolingHead

# pairs scored at once by a head that keeps something per pair: 64 x 256 pairs of 512 numbers take 34 MB
_TEXTS_AT_ONCE, _CLIPS_AT_ONCE = 64, 256


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Queries and gallery of one split, as the dataset has them (protocol `raw`).

    Args:
        video_ids: the gallery, V names without repetition.
        frames: (V, frame, height, width, 3) uint8, or (V, frame, width) float where a frozen image tower has seen them.
        texts: the queries: T texts, each the tuple of its pieces.
        text_video: (T,) number of each text's video.
    """

    split: str
    video_ids: tuple[str, ...]
    frames: Frames | ChosenFrames
    texts: tuple[tuple[str, ...], ...]
    text_video: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not self.video_ids or not self.texts:
            raise DataError(
                f"split {self.split!r} is empty ({len(self.video_ids)} videos, {len(self.texts)} captions): "
                "nothing to evaluate"
            )
        assert len(set(self.video_ids)) == len(self.video_ids) == len(self.frames)
        assert len(self.text_video) == len(self.texts)

    def __repr__(self) -> str:
        return f"EvaluationSet({self.split}, videos={len(self.video_ids)}, texts={len(self.texts)})"


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedTexts:
    """Texts as a head compares them.

    Args:
        features: tensors with one row per distinct piece.
        pieces: each text's rows of `features`, in the order of its pieces.
    """

    features: Features
    pieces: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def vectors(self) -> torch.Tensor:
        """(text, dim), unit length: of a text in pieces the normalised mean; for heads that compare one vector."""
        return F.normalize(_sum_of_pieces(self.features["text"], self.pieces), dim=-1)


def embed_videos(
    encoder: DualEncoder,
    frames: Frames | ChosenFrames,
    *,
    batch_size: int,
    supplements: Sequence[tuple[str, ...]] | None = None,
) -> Features:
    """All clips as the encoder's head compares them, on the CPU; ranks share the work, each gets all rows.

    Equal clips are embedded once: what a batch holds beside a clip moves the last digits of its embedding.

    Args:
        supplements: texts of each clip, for a head that reads them.
    """
    own = [()] * len(frames) if supplements is None else supplements
    first, number = _first_of_equals(zip(_digests(frames, batch_size), own, strict=True))

    def embed(part: slice, device: torch.device) -> Features:
        clips = encoder.image_tower(torch.from_numpy(np.array(frames[first[part]])).to(device))
        if supplements is not None:
            clips = encoder.with_captions(clips, [supplements[row] for row in first[part]])
        return encoder.encode_clips(clips)

    embedded = _embed_share(encoder, len(first), batch_size, embed)
    return {name: tensor[number] for name, tensor in embedded.items()}


def embed_texts(encoder: DualEncoder, texts: Sequence[tuple[str, ...]], *, batch_size: int) -> EmbeddedTexts:
    """All texts as the encoder's head compares them, on the CPU; ranks share the work, each gets all rows.

    Equal pieces are embedded once, so that equal texts have the same embedding to the last digit.
    """
    pieces = list(dict.fromkeys(piece for text in texts for piece in text))
    number = {piece: index for index, piece in enumerate(pieces)}
    embedded = _embed_share(
        encoder,
        len(pieces),
        batch_size,
        lambda part, _: encoder.encode_texts(encoder.read(pieces[part])),
    )
    return EmbeddedTexts(features=embedded, pieces=tuple(tuple(number[piece] for piece in text) for text in texts))


def score(encoder: DualEncoder, texts: EmbeddedTexts, clips: Features) -> NDArray[np.float32]:
    """(text, clip) scores of the encoder's head; equal texts and clips have the same ones to the last digit.

    A text in pieces has the cosine of its mean vector where the head compares vectors, else the mean of its pieces'
    scores.
    """
    if isinstance(encoder.head, PoolingHead):
        return cosines(texts.vectors, clips["clip"])
    return score_pairs(encoder.head.similarity, texts, clips, device=next(encoder.parameters()).device)


@torch.inference_mode()
def score_pairs(
    similarity: Callable[[Features, Features], torch.Tensor],
    texts: EmbeddedTexts,
    clips: Features,
    *,
    device: torch.device,
) -> NDArray[np.float32]:
    """(text, clip) scores, of a text in pieces the mean over them; pairs are scored a block at a time.

    Args:
        similarity: scores a block of pieces with a block of clips.
        device: where.
    """
    rows = zip(*(_rows_as_bytes(tensor) for tensor in clips.values()), strict=True)
    columns, column = _first_of_equals(rows)
    distinct = {name: tensor[columns] for name, tensor in clips.items()}
    by_piece = torch.cat(
        [
            torch.cat([similarity(few, some).float().cpu() for some in _blocks(distinct, _CLIPS_AT_ONCE, device)], 1)
            for few in _blocks(texts.features, _TEXTS_AT_ONCE, device)
        ]
    )
    counts = torch.tensor([len(rows) for rows in texts.pieces])
    scores: NDArray[np.float32] = (_sum_of_pieces(by_piece, texts.pieces) / counts[:, None])[:, column].numpy()
    return scores


def cosines(text: torch.Tensor, video: torch.Tensor) -> NDArray[np.float32]:
    """Dot products of unit-length embeddings, (text, video); equal embeddings have the same ones to the last digit.

    A product may add up the terms of its last rows in another order, so equal rows are multiplied once.
    """
    (rows, row), (columns, column) = (_first_of_equals(_rows_as_bytes(part)) for part in (text, video))
    product: NDArray[np.float32] = (text[rows] @ video[columns].T).numpy()
    return product if product.shape == (len(row), len(column)) else product[np.ix_(row, column)]


def _sum_of_pieces(rows: torch.Tensor, pieces: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """(text, ...) sum of each text's rows: first pieces, then second ones, a fixed order."""
    total = torch.zeros(len(pieces), *rows.shape[1:])
    for place in range(max(map(len, pieces), default=0)):
        having = [text for text, own in enumerate(pieces) if len(own) > place]
        total[having] += rows[[pieces[text][place] for text in having]]
    return total


def _blocks(features: Features, size: int, device: torch.device) -> Iterator[dict[str, torch.Tensor]]:
    count = len(next(iter(features.values())))
    for first in range(0, count, size):
        yield {name: tensor[first : first + size].to(device) for name, tensor in features.items()}


def _first_of_equals(keys: Iterable[Hashable]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each distinct key is found first, and for every key the number of its like among those."""
    numbers: dict[Hashable, int] = {}
    number = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return np.unique(number, return_index=True)[1], number


def _rows_as_bytes(tensor: torch.Tensor) -> list[bytes]:
    return [_digest(row) for row in tensor.numpy()]


def _digests(frames: Frames | ChosenFrames, batch_size: int) -> Iterator[bytes]:
    """One of each clip; a batch of clips is read at once, which decodes them side by side."""
    for first in range(0, len(frames), batch_size):
        yield from map(_digest, frames[first : first + batch_size])


def _digest(array: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).data).digest()


@torch.inference_mode()
def _embed_share(
    encoder: DualEncoder, count: int, batch_size: int, embed: Callable[[slice, torch.device], Features]
) -> dict[str, torch.Tensor]:
    """Embed rows [0, count), each rank a contiguous share; gathered in order.

    Word positions differ from batch to batch: they are filled up, which a mask says are nothing.
    """
    device = next(encoder.parameters()).device
    bounds = np.linspace(0, count, world_size() + 1).astype(int)
    start, stop = int(bounds[rank()]), int(bounds[rank() + 1])
    parts = [
        {name: tensor.cpu() for name, tensor in embed(slice(first, min(first + batch_size, stop)), device).items()}
        for first in range(start, stop, batch_size)
    ]
    if not parts:  # a rank without rows of its own still takes part: one row gives the names and shapes
        parts = [{name: tensor[:0].cpu() for name, tensor in embed(slice(0, 1), device).items()}]
    return {name: gather_rows(_joined([part[name] for part in parts])) for name in sorted(parts[0])}


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows below one another; second dimensions of unequal length are filled up with zeros, on all ranks alike."""
    if parts[0].ndim == 1 or (parts[0].ndim == 2 and parts[0].is_floating_point()):
        return torch.cat(list(parts))
    longest = max_over_ranks(max(part.shape[1] for part in parts))
    return torch.cat([F.pad(part, (0, 0) * (part.ndim - 2) + (0, longest - part.shape[1])) for part in parts])

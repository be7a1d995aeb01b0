"""Embed a split, and score its texts against its clips.

Texts longer than the text tower are split; the embedding of such a text is the normalised mean of its pieces'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from numpy.typing import NDArray

from conical.core.errors import DataError
from conical.distributed import gather_rows, rank, world_size
from conical.engine.stored_frames import ChosenFrames
from conical.models.dual_encoder import DualEncoder


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Queries and gallery of one split, as the dataset has them (protocol `raw`).

    Args:
        video_ids: the gallery, V names without repetition.
        frames: uint8, (V, frame, height, width, 3).
        texts: the queries: T texts, each the tuple of its pieces.
        text_video: (T,) number of each text's video.
    """

    split: str
    video_ids: tuple[str, ...]
    frames: NDArray[np.uint8] | ChosenFrames
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


def embed_videos(encoder: DualEncoder, frames: NDArray[np.uint8] | ChosenFrames, *, batch_size: int) -> torch.Tensor:
    """Embeddings of all clips, (video, dim), on the CPU; ranks share the work, each gets all rows.

    Clips of the same frames are embedded once: what a batch holds beside a clip moves the last digits of its embedding.
    """
    first, number = _first_of_equals(_digest(frames[index]) for index in range(len(frames)))
    embedded = _embed_share(
        encoder,
        len(first),
        batch_size,
        lambda part, device: encoder.encode_video(torch.from_numpy(np.array(frames[first[part]])).to(device)),
    )
    return embedded[number]


def embed_texts(encoder: DualEncoder, texts: Sequence[tuple[str, ...]], *, batch_size: int) -> torch.Tensor:
    """Embeddings of all texts, (text, dim), on the CPU; a split text's is the normalised mean of its pieces'.

    Equal pieces are embedded once, so that equal texts have the same embedding to the last digit.
    """
    pieces = list(dict.fromkeys(piece for text in texts for piece in text))
    number = {piece: index for index, piece in enumerate(pieces)}
    embedded = _embed_share(
        encoder,
        len(pieces),
        batch_size,
        lambda part, device: encoder.encode_text(encoder.tokenize(pieces[part]).to(device)),
    )
    total = torch.zeros(len(texts), embedded.shape[1])
    for place in range(max(map(len, texts), default=0)):  # first pieces, then second ones: a fixed order of the sum
        rows = [row for row, text in enumerate(texts) if len(text) > place]
        total[rows] += embedded[[number[texts[row][place]] for row in rows]]
    return F.normalize(total, dim=-1)


def cosines(text: torch.Tensor, video: torch.Tensor) -> NDArray[np.float32]:
    """Dot products of unit-length embeddings, (text, video); equal embeddings have the same ones to the last digit.

    A product may add up the terms of its last rows in another order, so equal rows are multiplied once.
    """
    (rows, row), (columns, column) = (_first_of_equals(_digest(x) for x in part.numpy()) for part in (text, video))
    product: NDArray[np.float32] = (text[rows] @ video[columns].T).numpy()
    return product if product.shape == (len(row), len(column)) else product[np.ix_(row, column)]


def _first_of_equals(keys: Iterable[Hashable]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each distinct key is found first, and for every key the number of its like among those."""
    numbers: dict[Hashable, int] = {}
    number = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return np.unique(number, return_index=True)[1], number


def _digest(array: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).data).digest()


@torch.inference_mode()
def _embed_share(
    encoder: DualEncoder, count: int, batch_size: int, embed: Callable[[slice, torch.device], torch.Tensor]
) -> torch.Tensor:
    """Embed rows [0, count), each rank a contiguous share; gathered in order."""
    device = next(encoder.parameters()).device
    bounds = np.linspace(0, count, world_size() + 1).astype(int)
    start, stop = int(bounds[rank()]), int(bounds[rank() + 1])
    parts = [
        embed(slice(first, min(first + batch_size, stop)), device).float().cpu()
        for first in range(start, stop, batch_size)
    ]
    width = encoder.width
    return gather_rows(torch.cat(parts) if parts else torch.zeros(0, width))

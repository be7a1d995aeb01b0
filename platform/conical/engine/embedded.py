"""The stored data as one encoder sees them: what several evaluations share is read and embedded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from conical.core.records import CaptionRecord, VideoRecord
from conical.core.seeds import generator
from conical.engine.data import load_evaluation_set, load_selection_set, text_splitter
from conical.engine.embedding import EmbeddedTexts, EvaluationSet, embed_texts, embed_videos, score, score_pairs
from conical.engine.options import EvaluateOptions
from conical.engine.source import DataSource
from conical.models.dual_encoder import DualEncoder
from conical.models.heads.head import Features, PoolingHead

Kept = TypeVar("Kept")


class EmbeddedData:
    """Queries, frames, supplements and the bank, embedded where they are asked for.

    Args:
        encoder: the model, in evaluation mode.
        options: batch size, and what protocols and families read of it.
        source: the stored data, with the supplements that the protocols read; None: only `sets` are asked for.
        sets: splits that are loaded already.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        options: EvaluateOptions,
        *,
        source: DataSource | None = None,
        sets: Mapping[str, EvaluationSet] | None = None,
    ) -> None:
        self.options = options
        self._encoder = encoder
        self._stored = source
        self._kept: dict[Hashable, Any] = {("split", name): data for name, data in (sets or {}).items()}

    @property
    def _source(self) -> DataSource:
        assert self._stored is not None, "a source is needed for what is not loaded already"
        return self._stored

    def once(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What `make` gives, made at the first call with this key."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: Kept = self._kept[key]
        return kept

    # ---- queries and gallery

    def split(self, name: str) -> EvaluationSet:
        """Queries and gallery as the dataset has them; of val the set that choices are made on."""
        splitter = text_splitter(self._encoder.reader)
        if name == "val":
            return self.once(("split", name), lambda: load_selection_set(self._source, split=splitter))
        return self.once(("split", name), lambda: load_evaluation_set(self._source, name, split=splitter))

    def pieces(self, text: str) -> tuple[str, ...]:
        """The pieces that the text tower reads a text in."""
        return tuple(text_splitter(self._encoder.reader)(text))

    def texts(self, texts: tuple[tuple[str, ...], ...]) -> EmbeddedTexts:
        """Texts in pieces, as the head compares them."""
        return self.once(("texts", texts), lambda: self._embed_texts(texts))

    def frames(self, split: str) -> Features:
        """The clips of a split, as the head compares them."""
        return self.once(("frames", split), lambda: self._embed_videos(self.split(split).frames))

    def score(self, texts: EmbeddedTexts, clips: Features) -> NDArray[np.float32]:
        """(text, clip) scores of the head."""
        return score(self._encoder, texts, clips)

    def captioned(self, split: str, prompts: Sequence[str]) -> Features:
        """The clips of a split with their supplements, as a head compares them that reads those."""
        return self.once(("captioned", split, tuple(prompts)), lambda: self._embed_captioned(split, prompts))

    def score_captions(self, texts: EmbeddedTexts, clips: Features) -> NDArray[np.float32]:
        """(text, clip) scores by supplements alone, of a head that reads them."""
        device = next(self._encoder.parameters()).device
        return score_pairs(self._encoder.head.caption_similarity, texts, clips, device=device)

    @property
    def caption_weight(self) -> float | None:
        """The learnt share of the supplements in a head's scores; None of a head that does not read them."""
        head = self._encoder.head
        return float(head.caption_weight.detach()) if head.needs_captions else None

    @property
    def has_vectors(self) -> bool:
        """Whether the head compares one vector of a text with one of a clip."""
        return isinstance(self._encoder.head, PoolingHead)

    # ---- supplements

    def supplement_rows(self, split: str, prompts: Sequence[str]) -> list[CaptionRecord]:
        """The ledger's rows of some prompts for the videos of a split, in the ledger's order."""
        videos = set(self.split(split).video_ids)
        rows = self.once("rows", self._source.supplement_rows)
        return [row for row in rows if row.prompt_id in prompts and row.video_id in videos]

    def mean_supplements(self, split: str, prompts: Sequence[str]) -> Tensor:
        """(video, dim): mean of the unit embeddings of each video's supplements, zeros where it has none."""
        return self.once(("supplements", split, tuple(prompts)), lambda: self._mean_supplements(split, prompts))

    def _mean_supplements(self, split: str, prompts: Sequence[str]) -> Tensor:
        video_ids, rows = self.split(split).video_ids, self.supplement_rows(split, prompts)
        number = {video_id: index for index, video_id in enumerate(video_ids)}
        owner = torch.tensor([number[row.video_id] for row in rows], dtype=torch.int64)
        embedded = self._embed_texts([self.pieces(row.text) for row in rows]).vectors
        total = torch.zeros(len(video_ids), embedded.shape[1]).index_add_(0, owner, embedded)
        counts = torch.bincount(owner, minlength=len(video_ids)).clamp(min=1)
        return total / counts[:, None]

    def _embed_captioned(self, split: str, prompts: Sequence[str]) -> Features:
        data = self.split(split)
        texts: dict[str, tuple[str, ...]] = dict.fromkeys(data.video_ids, ())
        for row in self.supplement_rows(split, prompts):
            texts[row.video_id] += self.pieces(row.text)
        return embed_videos(
            self._encoder,
            data.frames,
            batch_size=self.options.batch_size,
            supplements=[texts[video_id] for video_id in data.video_ids],
        )

    # ---- the bank of train queries

    def bank_captions(self) -> list[tuple[str, ...]]:
        """Human captions of train, at most `qbnorm_bank`, the same ones for every run on this dataset."""
        captions = [caption for record in self._source.records("train") for caption in record.captions]
        return [self.pieces(captions[index]) for index in self._drawn("captions", len(captions))]

    def bank_records(self) -> list[VideoRecord]:
        """Videos of train, at most `qbnorm_bank`."""
        records = self._source.records("train")
        return [records[index] for index in self._drawn("videos", len(records))]

    def bank_texts(self) -> EmbeddedTexts:
        """The bank's captions."""
        return self.once(("bank", "texts"), lambda: self._embed_texts(self.bank_captions()))

    def bank_videos(self) -> Features:
        """The bank's videos."""
        return self.once(("bank", "videos"), self._embed_bank_videos)

    def _embed_bank_videos(self) -> Features:
        # the map that training reads too: a map of the drawn videos alone would be on disk twice
        frames = self._source.scored_frames(self._source.records("train"))
        drawn = self._drawn("videos", len(frames))
        step = self.options.batch_size
        parts = [self._embed_videos(frames[drawn[first : first + step]]) for first in range(0, len(drawn), step)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _drawn(self, what: str, count: int) -> NDArray[np.int64]:
        return np.sort(generator(0, "qbnorm", what).permutation(count)[: self.options.qbnorm_bank])

    # ---- embedding

    def _embed_texts(self, texts: Sequence[tuple[str, ...]]) -> EmbeddedTexts:
        return embed_texts(self._encoder, texts, batch_size=self.options.batch_size)

    def _embed_videos(self, frames: Any) -> Features:
        return embed_videos(self._encoder, frames, batch_size=self.options.batch_size)

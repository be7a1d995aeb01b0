"""Score one encoder under any protocol, family and subset.

raw                 the dataset's captions against frames
captioned-gallery   the dataset's captions against frames joined with supplements; their share is chosen on val
paired-supplement   each caption joined with a supplement of its own target video, against frames
.dsl .qbnorm        the scores changed at test time, with all queries in view
-leak-free          some of the queries; each still ranks the whole gallery
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from conical.captioning import DEFAULT_LIMIT, Prompt, split_text
from conical.core.errors import ProtocolError
from conical.core.hashing import stable_hash
from conical.core.records import CaptionRecord, VideoRecord
from conical.core.seeds import generator
from conical.engine.data import load_evaluation_set, load_selection_set
from conical.engine.embedding import Evaluation, EvaluationSet, cosines, embed_texts, embed_videos
from conical.engine.gallery import fuse_gallery, refuse_leaking_prompts
from conical.engine.options import EvaluateOptions
from conical.engine.selection import FusionChoice, choose_fusion_weight
from conical.engine.source import DataSource
from conical.metrics import EvaluationName, RetrievalMetrics, dual_softmax, qb_norm, restrict_queries, retrieval_metrics
from conical.models.dual_encoder import DualEncoder

CAPTIONED, PAIRED = "captioned-gallery", "paired-supplement"
_FIXED = "fixed in the settings"

Kept = TypeVar("Kept")


class Scorer:
    """Scores an encoder; what several evaluations share is read and embedded once.

    Args:
        encoder: the model; put into evaluation mode.
        source: the stored data, with the supplements that the protocols read.
        options: prompts, weights, scales of the families, resamples.
        prompts: those of the captioner, to see which of them read the human caption.
        subsets: subset to the ids of its test videos.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        source: DataSource,
        options: EvaluateOptions,
        *,
        prompts: Sequence[Prompt] = (),
        subsets: dict[str, Collection[str]] | None = None,
        seed: int = 0,
    ) -> None:
        self._encoder = encoder.eval()
        self._source = source
        self._options = options
        self._prompts = tuple(prompts)
        self._subsets = subsets or {}
        self._seed = seed
        self._kept: dict[tuple[str, ...], Any] = {}

    def score(self, name: EvaluationName) -> Evaluation:
        """Rank both directions, with intervals.

        Raises:
            DataError: the split is empty.
            ProtocolError: a supplement would leak the query, or the subset is not of this split.
        """
        data = self._data(name.split)
        text, video = self._queries(name), self._gallery(name)
        similarity = cosines(text, video)
        rescore, rescore_v2t = self._rescorers(name, text=text, video=video)
        bootstrap = {"num_resamples": self._options.num_resamples, "seed": self._seed}
        metrics = retrieval_metrics(
            similarity, text_video=data.text_video, rescore=rescore, rescore_v2t=rescore_v2t, **bootstrap
        )
        if rescore is not None:
            similarity = rescore(similarity).astype(np.float32)
        rows = np.arange(len(data.texts))
        if name.subset is not None:
            videos = self._videos_of(name)
            metrics = restrict_queries(metrics, text_video=data.text_video, videos=videos, **bootstrap)
            rows = rows[videos[data.text_video]]
        return self._evaluation(name, metrics, similarity, rows)

    def _evaluation(
        self, name: EvaluationName, metrics: RetrievalMetrics, similarity: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> Evaluation:
        data = self._data(name.split)
        texts = [" ".join(text) for text in self._texts(name)]
        captions = [" ".join(text) for text in data.texts]
        hashes = {
            "queries": stable_hash([[captions[row], data.video_ids[data.text_video[row]]] for row in rows]),
            "gallery": stable_hash(list(data.video_ids)),
        }
        if name.protocol != "raw":
            hashes["supplements"] = stable_hash([row.key for row in self._supplement_rows(name.split, name.protocol)])
        if name.family == "qbnorm":
            videos = [record.video_id for record in self._bank_records()]
            hashes["bank"] = stable_hash([self._bank_captions(), videos])
        if name.subset is not None:
            hashes["subset"] = stable_hash(sorted(self._subsets[name.subset]))
        return Evaluation(
            name=name,
            metrics=metrics,
            similarity=similarity[rows],
            video_ids=data.video_ids,
            texts=tuple(texts[row] for row in rows),
            text_video=data.text_video[rows],
            hashes=hashes,
            settings=self._settings(name),
        )

    def _settings(self, name: EvaluationName) -> dict[str, Any]:
        """All that determines the scores beside the encoder and the data, and how it was chosen."""
        options = self._options
        found: dict[str, Any] = {}
        if name.protocol == CAPTIONED:
            mute = int((self._supplements(name.split).abs().sum(dim=1) == 0).sum())
            found["fusion"] = {**asdict(self._fusion()), "prompts": options.gallery_prompts}
            found["fusion"] |= {"videos_without_supplement": mute}
        if name.protocol == PAIRED:
            found["paired"] = {"prompts": options.paired_prompts, "uses_target_video": True}
        if name.family == "dsl":
            found["dsl"] = {"tau": options.dsl_tau, "chosen": _FIXED}
        if name.family == "qbnorm":
            found["qbnorm"] = {
                "beta": options.qbnorm_beta,
                "k": options.qbnorm_k,
                "bank": f"{len(self._bank_captions())} captions and {len(self._bank_records())} videos of train",
                "chosen": _FIXED,
            }
        return found

    # ---- queries and gallery

    def _data(self, split: str) -> EvaluationSet:
        """Queries and gallery as the dataset has them; of val the set that choices are made on."""
        count = self._encoder.count_tokens
        if split == "val":
            return self._once(("data", split), lambda: load_selection_set(self._source, count_tokens=count))
        return self._once(("data", split), lambda: load_evaluation_set(self._source, split, count_tokens=count))

    def _texts(self, name: EvaluationName) -> tuple[tuple[str, ...], ...]:
        """The queries in pieces."""
        data = self._data(name.split)
        if name.protocol != PAIRED:
            return data.texts
        first: dict[str, dict[str, str]] = {}
        for row in self._supplement_rows(name.split, PAIRED):
            first.setdefault(row.video_id, {}).setdefault(row.prompt_id, row.text)
        paired = []
        for text, video in zip(data.texts, data.text_video, strict=True):
            written = first.get(data.video_ids[video], {})
            added = [written[prompt] for prompt in self._options.paired_prompts if prompt in written]
            paired.append(self._pieces(join_sentences(" ".join(text), *added)))
        return tuple(paired)

    def _queries(self, name: EvaluationName) -> Tensor:
        kind = PAIRED if name.protocol == PAIRED else "raw"
        return self._once(("queries", name.split, kind), lambda: self._embed_texts(self._texts(name)))

    def _gallery(self, name: EvaluationName) -> Tensor:
        frames = self._frames(name.split)
        if name.protocol != CAPTIONED:
            return frames
        return fuse_gallery(frames, self._supplements(name.split), weight=self._fusion().weight)

    def _frames(self, split: str) -> Tensor:
        return self._once(("frames", split), lambda: self._embed_videos(self._data(split).frames))

    def _fusion(self) -> FusionChoice:
        """The share of the supplements, chosen on val whatever split is scored."""

        def choose() -> FusionChoice:
            val = load_selection_set(self._source, count_tokens=self._encoder.count_tokens)
            return choose_fusion_weight(
                val,
                text=self._queries(EvaluationName(split="val")),
                frames=self._frames("val"),
                supplements=self._supplements("val"),
                weights=self._options.fusion_weights,
            )

        return self._once(("fusion",), choose)

    # ---- supplements

    def _supplement_rows(self, split: str, protocol: str) -> list[CaptionRecord]:
        """The ledger's rows that a protocol reads of a split, in the ledger's order."""
        wanted = self._options.gallery_prompts if protocol == CAPTIONED else self._options.paired_prompts
        if protocol == CAPTIONED:
            refuse_leaking_prompts(self._prompts, wanted)
        videos = set(self._data(split).video_ids)
        rows = self._once(("rows",), self._source.supplement_rows)
        return [row for row in rows if row.prompt_id in wanted and row.video_id in videos]

    def _supplements(self, split: str) -> Tensor:
        """(video, dim): mean of each video's supplements."""
        return self._once(
            ("supplements", split),
            lambda: self._mean_embeddings(self._supplement_rows(split, CAPTIONED), self._data(split).video_ids),
        )

    def _mean_embeddings(self, rows: Sequence[CaptionRecord], video_ids: Sequence[str]) -> Tensor:
        number = {video_id: index for index, video_id in enumerate(video_ids)}
        owner = torch.tensor([number[row.video_id] for row in rows], dtype=torch.int64)
        width = self._encoder.width
        embedded = self._embed_texts([self._pieces(row.text) for row in rows]) if rows else torch.zeros(0, width)
        total = torch.zeros(len(video_ids), width).index_add_(0, owner, embedded)
        counts = torch.bincount(owner, minlength=len(video_ids)).clamp(min=1)
        return total / counts[:, None]

    # ---- families

    def _rescorers(
        self, name: EvaluationName, *, text: Tensor, video: Tensor
    ) -> tuple[Callable[[NDArray[Any]], NDArray[Any]] | None, Callable[[NDArray[Any]], NDArray[Any]] | None]:
        """How the scores of t2v and of v2t change; queries are the rows of each."""
        options = self._options
        if name.family is None:
            return None, None
        if name.family == "dsl":
            return (lambda scores: dual_softmax(scores, tau=options.dsl_tau),) * 2
        captions = self._once(("bank", "texts"), lambda: self._embed_texts(self._bank_captions()))
        videos = self._once(("bank", "videos"), self._embed_bank_videos)
        scales = {"beta": options.qbnorm_beta, "k": options.qbnorm_k}
        by_text, by_video = cosines(captions, video), cosines(videos, text)
        return (
            lambda scores: qb_norm(scores, by_text, **scales),
            lambda scores: qb_norm(scores, by_video, **scales),
        )

    def _bank_captions(self) -> list[tuple[str, ...]]:
        """Human captions of train, at most `qbnorm_bank`, the same ones for every run on this dataset."""
        captions = [caption for record in self._source.records("train") for caption in record.captions]
        return [self._pieces(captions[index]) for index in self._drawn("captions", len(captions))]

    def _bank_records(self) -> list[VideoRecord]:
        """Videos of train, at most `qbnorm_bank`."""
        records = self._source.records("train")
        return [records[index] for index in self._drawn("videos", len(records))]

    def _embed_bank_videos(self) -> Tensor:
        # the map that training reads too: a map of the drawn videos alone would be on disk twice
        frames = self._source.scored_frames(self._source.records("train"))
        drawn = self._drawn("videos", len(frames))
        step = self._options.batch_size
        parts = [self._embed_videos(frames[drawn[first : first + step]]) for first in range(0, len(drawn), step)]
        return torch.cat(parts)

    def _drawn(self, what: str, count: int) -> NDArray[np.int64]:
        return np.sort(generator(0, "qbnorm", what).permutation(count)[: self._options.qbnorm_bank])

    # ---- subsets

    def _videos_of(self, name: EvaluationName) -> NDArray[np.bool_]:
        """(video,) whether a video of the gallery is in the subset."""
        if name.split != "test" or name.subset not in self._subsets:
            raise ProtocolError(
                f"subset {name.subset!r} is a part of test with a list of its videos, got split {name.split!r}: "
                "run conical data audit, then evaluate on test"
            )
        return np.isin(self._data(name.split).video_ids, list(self._subsets[name.subset]))

    # ---- embedding

    def _pieces(self, text: str) -> tuple[str, ...]:
        return tuple(split_text(text, count_tokens=self._encoder.count_tokens, limit=DEFAULT_LIMIT))

    def _embed_texts(self, texts: Sequence[tuple[str, ...]]) -> Tensor:
        return embed_texts(self._encoder, texts, batch_size=self._options.batch_size)

    def _embed_videos(self, frames: NDArray[np.uint8]) -> Tensor:
        return embed_videos(self._encoder, frames, batch_size=self._options.batch_size)

    def _once(self, key: tuple[str, ...], make: Callable[[], Kept]) -> Kept:
        if key not in self._kept:
            self._kept[key] = make()
        kept: Kept = self._kept[key]
        return kept


def join_sentences(*texts: str) -> str:
    """Texts one after the other, each ended by a mark, so that a long query is split between them first.

    >>> join_sentences("a dog runs", "The dog is brown.")
    'a dog runs. The dog is brown.'
    """
    ended = [text if text.rstrip().endswith((".", "!", "?", "。")) else f"{text.rstrip()}." for text in texts[:-1]]
    return " ".join([*ended, texts[-1]])

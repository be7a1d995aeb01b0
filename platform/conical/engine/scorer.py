"""Score one encoder under any protocol, family and subset.

A protocol says what queries and gallery are (`conical.engine.protocols`), a family how their scores are changed with
all queries in view (`conical.metrics.families`), a subset which queries count; each still ranks the whole gallery.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.captioning.prompts import Prompt
from conical.core.errors import ProtocolError
from conical.core.hashing import stable_hash
from conical.engine.embedded import EmbeddedData
from conical.engine.embedding import EmbeddedTexts, EvaluationSet
from conical.engine.options import EvaluateOptions
from conical.engine.source import DataSource
from conical.metrics import EvaluationName, RetrievalMetrics, restrict_queries, retrieval_metrics
from conical.metrics.recall import Rescore
from conical.models.dual_encoder import DualEncoder
from conical.store import EvaluationRecord

_FIXED = "fixed in the settings"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model did on a split.

    Args:
        similarity: float32, (text, video): what the ranks of t2v come from, rescored where there is a family.
    """

    metrics: RetrievalMetrics
    similarity: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Scores(similarity={self.similarity.shape}, {self.metrics})"


class Scorer:
    """Scores an encoder.

    Args:
        encoder: the model; put into evaluation mode.
        options: the protocols and families that are asked for, prompts, weights, scales, resamples.
        source: the stored data, with the supplements that the protocols read; None: only `sets` are scored.
        sets: splits that are loaded already.
        prompts: those of the captioner, to see which of them read the human caption.
        subsets: subset to the ids of its test videos.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        options: EvaluateOptions,
        *,
        source: DataSource | None = None,
        sets: Mapping[str, EvaluationSet] | None = None,
        prompts: Sequence[Prompt] = (),
        subsets: Mapping[str, Collection[str]] | None = None,
        seed: int = 0,
    ) -> None:
        self._data = EmbeddedData(encoder.eval(), options, source=source, sets=sets)
        self._options = options
        self._prompts = tuple(prompts)
        self._subsets = subsets or {}
        self._seed = seed

    def score(self, name: EvaluationName) -> EvaluationRecord:
        """Rank both directions, with intervals, and describe what was ranked.

        Raises:
            DataError: the split is empty.
            ProtocolError: a supplement would leak the query, or the subset is not of this split.
            ValueError: protocol or family are not among those of the options.
        """
        data, protocol = self._data.split(name.split), self._options.protocol(name.protocol)
        scores = self.rank(name)
        rows = np.arange(len(data.texts))
        if name.subset is not None:
            rows = rows[self._videos_of(name)[data.text_video]]
        texts = [" ".join(text) for text in protocol.texts(self._data, name.split)]
        metrics, settings = scores.metrics, self._settings(name)
        return EvaluationRecord(
            split=name.split,
            protocol=name.protocol,
            family=name.family,
            subset=name.subset,
            metrics=metrics.by_name(),
            num_queries=metrics.t2v.num_queries,
            num_gallery=metrics.t2v.num_gallery,
            has_ties=any(found.has_ties for found in metrics.directions().values()),
            ranks_t2v=metrics.t2v.ranks,
            ranks_v2t=metrics.v2t.ranks,
            rankings={direction: found.ranking for direction, found in metrics.directions().items()},
            similarity=scores.similarity[rows],
            video_ids=data.video_ids,
            texts=tuple(texts[row] for row in rows),
            text_video=data.text_video[rows],
            hashes=self._hashes(name, rows),
            settings=settings,
            note="; ".join(note for note in self._notes(name, settings) if note),
            uses_target=protocol.uses_target,
        )

    def rank(self, name: EvaluationName, *, has_intervals: bool = True) -> Scores:
        """Rank both directions; arguments and errors as for `score`.

        Args:
            has_intervals: resample the queries, too.
        """
        data, protocol = self._data.split(name.split), self._options.protocol(name.protocol)
        protocol.refuse(self._prompts, self._options)
        texts = self._data.texts(protocol.texts(self._data, name.split))
        similarity = protocol.scores(self._data, texts, name.split)
        rescore, rescore_v2t = self._rescorers(name, texts=texts)
        bootstrap: dict[str, Any] = {"num_resamples": self._options.num_resamples if has_intervals else None}
        bootstrap["seed"] = self._seed
        metrics = retrieval_metrics(
            similarity, text_video=data.text_video, rescore=rescore, rescore_v2t=rescore_v2t, **bootstrap
        )
        if rescore is not None:
            similarity = rescore(similarity).astype(np.float32)
        if name.subset is not None:
            metrics = restrict_queries(metrics, text_video=data.text_video, videos=self._videos_of(name), **bootstrap)
        return Scores(metrics=metrics, similarity=similarity)

    # ---- what is written beside the numbers

    def _hashes(self, name: EvaluationName, rows: NDArray[np.int64]) -> dict[str, str]:
        data, protocol = self._data.split(name.split), self._options.protocol(name.protocol)
        captions = [" ".join(text) for text in data.texts]
        hashes = {
            "queries": stable_hash([[captions[row], data.video_ids[data.text_video[row]]] for row in rows]),
            "gallery": stable_hash(list(data.video_ids)),
            **protocol.hashes(self._data, name.split),
        }
        if name.family is not None and self._options.family(name.family).needs_bank:
            videos = [record.video_id for record in self._data.bank_records()]
            hashes["bank"] = stable_hash([self._data.bank_captions(), videos])
        if name.subset is not None:
            hashes["subset"] = stable_hash(sorted(self._subsets[name.subset]))
        return hashes

    def _settings(self, name: EvaluationName) -> dict[str, Any]:
        """All that determines the scores beside the encoder and the data, and how it was chosen."""
        settings = dict(self._options.protocol(name.protocol).settings(self._data, name.split))
        if name.family is not None:
            family = self._options.family(name.family)
            described: dict[str, Any] = dict(family.set_by(self._options))
            if family.needs_bank:
                sizes = len(self._data.bank_captions()), len(self._data.bank_records())
                described["bank"] = "{} captions and {} videos of train".format(*sizes)
            settings[family.name] = {**described, "chosen": _FIXED}
        return settings

    def _notes(self, name: EvaluationName, settings: Mapping[str, Any]) -> tuple[str, ...]:
        protocol = self._options.protocol(name.protocol).note(settings)
        if name.family is None:
            return (protocol,)
        return protocol, self._options.family(name.family).note.format(**settings[name.family])

    # ---- families and subsets

    def _rescorers(self, name: EvaluationName, *, texts: EmbeddedTexts) -> tuple[Rescore | None, Rescore | None]:
        """How the scores of t2v and of v2t change; queries are the rows of each."""
        if name.family is None:
            return None, None
        family = self._options.family(name.family)
        formula = partial(family.rescore, **family.set_by(self._options))
        if not family.needs_bank:
            return formula, formula
        by_text = self._options.protocol(name.protocol).scores(self._data, self._data.bank_texts(), name.split)
        by_video = self._data.score(texts, self._data.bank_videos()).T
        return lambda scores: formula(scores, by_text), lambda scores: formula(scores, by_video)

    def _videos_of(self, name: EvaluationName) -> NDArray[np.bool_]:
        """(video,) whether a video of the gallery is in the subset."""
        if name.split != "test" or name.subset is None or name.subset not in self._subsets:
            raise ProtocolError(
                f"subset {name.subset!r} is a part of test with a list of its videos, got split {name.split!r}: "
                "run conical data audit, then evaluate on test"
            )
        return np.isin(self._data.split(name.split).video_ids, list(self._subsets[name.subset]))

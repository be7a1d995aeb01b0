"""One scored split on disk: a JSON for people and tables, an npz of arrays beside it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.atomic import atomic_path, write_text_atomic
from conical.core.errors import StoreError
from conical.core.records import SplitCount
from conical.metrics import EvaluationName, MetricValue, Ranking
from conical.store.rankings import ranking_arrays, ranking_of


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One scored split, as stored: enough for tables, paired tests and the error browser.

    Args:
        protocol: what query and gallery were made of.
        metrics: `t2v/R1` to `v2t_any/MeanR`, each with its interval and tie bounds.
        has_ties: whether the tie rule matters.
        ranks_t2v: (text,) expected ranks from 1.
        ranks_v2t: (video that has a text,) likewise, in the order of the columns.
        similarity: float32, (text, video): what the ranks of t2v come from, rescored where there is a family.
        video_ids: names of the columns.
        text_video: (text,) column of each query's video.
        family: how the scores were changed, None for not at all.
        subset: which part of the split's queries, None for all. The gallery is always the whole.
        rankings: direction to the counts behind the ranks.
        hashes: content addresses of queries (the dataset's captions and their videos), gallery (its ids), supplements
            (their keys), bank (its ids and texts), subset (its ids): those that apply.
        settings: what determines the scores beside the encoder, and how it was chosen.
        completeness: split to videos that should be there and videos with frames, for the splits that the number
            depends on; empty where nothing is known.
        shared: clips that its split shares with another one, in words.
        depends_on: the `settings` and hashes of the `data` and the encoder that the numbers come from, to see later
            whether they still answer; empty until the driver of the evaluation writes them down.
        note: how the scores were made, as protocol and family say it; "" for scores of `raw` as they are.
        uses_target: the queries were written with the answer at hand.
    """

    split: str
    protocol: str
    metrics: dict[str, MetricValue]
    num_queries: int
    num_gallery: int
    has_ties: bool
    ranks_t2v: NDArray[np.float64] = field(repr=False)
    ranks_v2t: NDArray[np.float64] = field(repr=False)
    similarity: NDArray[np.float32] = field(repr=False)
    video_ids: tuple[str, ...] = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)
    text_video: NDArray[np.int64] = field(repr=False)
    rankings: dict[str, Ranking] = field(repr=False)
    hashes: dict[str, str]
    family: str | None = None
    subset: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    completeness: dict[str, SplitCount] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    depends_on: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    uses_target: bool = False

    @property
    def name(self) -> EvaluationName:
        """What was scored, and how."""
        return EvaluationName(split=self.split, protocol=self.protocol, family=self.family, subset=self.subset)

    @property
    def is_partial(self) -> bool:
        """Whether a video is missing that the number depends on."""
        return any(count.found < count.expected for count in self.completeness.values())

    @property
    def partial_note(self) -> str:
        """What is missing, in words; "" if nothing is."""
        own = self.completeness.get(self.split)
        notes = []
        if own and own.found < own.expected:
            notes.append(f"partial: {own.found:,} of {own.expected:,} {self.split} videos")
        notes += [
            f"{count.found:,} of {count.expected:,} {split} videos had frames"
            for split, count in self.completeness.items()
            if split != self.split and count.found < count.expected
        ]
        return "; ".join(notes)

    @property
    def settings_note(self) -> str:
        """How the scores were made, in words; "" for `raw` on a whole split."""
        notes = [self.note] if self.note else []
        if self.subset:
            videos = len(np.unique(self.text_video))
            notes.append(f"queries of {videos:,} of {self.num_gallery:,} videos against the whole gallery")
        return "; ".join(notes)


_ARRAYS = ("ranks_t2v", "ranks_v2t", "similarity", "text_video")
_PLAIN = (
    *("split", "protocol", "family", "subset", "metrics", "num_queries", "num_gallery", "has_ties"),
    *("hashes", "settings", "completeness", "shared", "depends_on", "note", "uses_target", "video_ids", "texts"),
)


def write_evaluation(path: Path, record: EvaluationRecord) -> None:
    """Write arrays, then the JSON that says they are whole."""
    arrays = {name: getattr(record, name) for name in _ARRAYS}
    for direction, ranking in record.rankings.items():
        arrays |= ranking_arrays(direction, ranking)
    with atomic_path(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    plain = {name: getattr(record, name) for name in _PLAIN}
    plain["metrics"] = {name: asdict(metric) for name, metric in record.metrics.items()}
    plain["completeness"] = {split: asdict(count) for split, count in record.completeness.items()}
    write_text_atomic(path, json.dumps(plain, ensure_ascii=False, indent=1))


def read_evaluation(path: Path) -> EvaluationRecord | None:
    """What `write_evaluation` wrote; None if there is no JSON.

    Raises:
        StoreError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        plain = {name: stored[name] for name in _PLAIN}
        with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in _ARRAYS}
            directions = [key.removesuffix("_better") for key in arrays.files if key.endswith("_better")]
            plain["rankings"] = {direction: ranking_of(direction, arrays) for direction in directions}
        plain |= {name: tuple(plain[name]) for name in ("video_ids", "texts", "shared")}
        plain["metrics"] = {name: MetricValue(**metric) for name, metric in plain["metrics"].items()}
        plain["completeness"] = {split: SplitCount(**count) for split, count in plain["completeness"].items()}
        return EvaluationRecord(**plain, **loaded)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"evaluation {path} cannot be read ({error}): score the run again (conical evaluate --repeat)"
        ) from error

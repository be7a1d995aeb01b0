"""From the stores to what the loop and the evaluation take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from conical.captioning import DEFAULT_LIMIT, split_text
from conical.captioning.mix import HUMAN
from conical.engine.batches import TrainingSet
from conical.engine.embedding import EvaluationSet
from conical.engine.selection import SelectionSet
from conical.engine.source import DataSource


def load_training_set(source: DataSource, *, count_tokens: Callable[[str], int]) -> TrainingSet:
    """The train split: frames, human captions and supplements, long texts in pieces."""
    records = source.records("train")
    supplements = source.supplements()
    texts = [
        {
            prompt: tuple(tuple(split_text(text, count_tokens=count_tokens, limit=DEFAULT_LIMIT)) for text in written)
            for prompt, written in {HUMAN: list(record.captions), **supplements.get(record.video_id, {})}.items()
        }
        for record in records
    ]
    return TrainingSet(frames=source.frames(records), texts=texts)


def load_evaluation_set(source: DataSource, split: str, *, count_tokens: Callable[[str], int]) -> EvaluationSet:
    """Each human caption of the split is a query; each of its videos with frames is in the gallery."""
    records = source.records(split)
    queries = [(number, text) for number, record in enumerate(records) for text in record.captions]
    return EvaluationSet(
        split=split,
        video_ids=tuple(record.video_id for record in records),
        frames=source.scored_frames(records),
        texts=tuple(tuple(split_text(text, count_tokens=count_tokens, limit=DEFAULT_LIMIT)) for _, text in queries),
        text_video=np.array([number for number, _ in queries], dtype=np.int64),
    )


def load_selection_set(source: DataSource, *, count_tokens: Callable[[str], int]) -> SelectionSet:
    """The val split, the only one that anything is chosen on."""
    return SelectionSet.of(load_evaluation_set(source, "val", count_tokens=count_tokens))

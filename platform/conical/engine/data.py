"""From the stores to what the loop and the evaluation take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from conical.captioning import split_text
from conical.captioning.mix import HUMAN
from conical.engine.batches import TrainingSet
from conical.engine.embedding import EvaluationSet
from conical.engine.selection import SelectionSet
from conical.engine.source import DataSource
from conical.engine.stored_frames import scored_frames
from conical.models.text_reader import TextReader
from conical.store.feature_files import ShardedArray

Splitter = Callable[[str], Sequence[str]]
Kept = ShardedArray | None
Copies = Sequence[ShardedArray]


def text_splitter(reader: TextReader) -> Splitter:
    """Cuts a text into the pieces that a model reads it in."""
    return lambda text: split_text(text, count_tokens=reader.count, limit=reader.limit)


def load_training_set(source: DataSource, *, split: Splitter, frames: Kept = None, copies: Copies = ()) -> TrainingSet:
    """The train split: frames, human captions and supplements, long texts in pieces.

    Args:
        frames: what a frozen image tower gives of them, in the place of the stored frames.
        copies: the same of the transformed copies.
    """
    records = source.records("train")
    supplements = source.supplements()
    texts = [
        {
            prompt: tuple(tuple(split(text)) for text in written)
            for prompt, written in {HUMAN: list(record.captions), **supplements.get(record.video_id, {})}.items()
        }
        for record in records
    ]
    read = [
        tuple(piece for prompt in source.head_prompts for text in own.get(prompt, ()) for piece in text)
        for own in texts
    ]
    return TrainingSet(
        frames=source.frames(records) if frames is None else frames,
        copies=copies,
        texts=texts,
        supplements=read if source.head_prompts else (),
    )


def load_evaluation_set(source: DataSource, name: str, *, split: Splitter, frames: Kept = None) -> EvaluationSet:
    """Each human caption of the split called `name` is a query; each of its videos with frames is in the gallery.

    Args:
        frames: what a frozen image tower gives of all stored frames, in their place.
    """
    records = source.records(name)
    queries = [(number, text) for number, record in enumerate(records) for text in record.captions]
    return EvaluationSet(
        split=name,
        video_ids=tuple(record.video_id for record in records),
        frames=source.scored_frames(records) if frames is None else scored_frames(frames, source.num_frames),
        texts=tuple(tuple(split(text)) for _, text in queries),
        text_video=np.array([number for number, _ in queries], dtype=np.int64),
    )


def load_selection_set(source: DataSource, *, split: Splitter, frames: Kept = None) -> SelectionSet:
    """The val split, the only one that anything is chosen on; arguments as for `load_evaluation_set`."""
    return SelectionSet.of(load_evaluation_set(source, "val", split=split, frames=frames))

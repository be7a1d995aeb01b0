"""What a run reads inside its worker: splits, the outputs of frozen towers, a teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conical.config import Experiment, parse_experiment
from conical.core.records import VideoRecord
from conical.engine.batches import TrainingSet
from conical.engine.data import load_selection_set, load_training_set, text_splitter
from conical.engine.frozen_towers import FrozenTowers, Views
from conical.engine.selection import SelectionSet
from conical.engine.source import DataSource
from conical.models.dual_encoder import DualEncoder, build_dual_encoder
from conical.models.weight_files import load_encoder
from conical.store import RunFolder
from conical.store.feature_files import ShardedArray
from conical.video.augment import AugmentOptions


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The splits that a run trains on and chooses on."""

    training: TrainingSet
    val: SelectionSet


def load_data(
    experiment: Experiment,
    source: DataSource,
    encoder: DualEncoder,
    *,
    needs_copies: bool,
    keeps_frames: bool,
    autocast: AbstractContextManager[Any],
    tell: Callable[[str], None],
) -> RunData:
    """Load both splits; a frozen tower is run over them, once for all runs that have it.

    Args:
        encoder: on its device; it is given the outputs of a frozen text tower.
        needs_copies: whether the loss compares with transformed copies. Copies that are new for each row need the image
            tower in every step, so its outputs are kept only with `augment.num_views`.
        keeps_frames: false where another model must see the pixels.
        autocast: precision of training.
        tell: told what takes its time.
    """
    split = text_splitter(encoder.reader)
    towers = FrozenTowers(encoder, source.map_place, autocast=autocast, precision=experiment.optim.precision)
    keeps_outputs = experiment.model.keeps_outputs
    has_fixed_copies = not needs_copies or experiment.augment.num_views > 0
    if keeps_outputs and keeps_frames and has_fixed_copies and towers.has_images:
        tell("running the frozen image tower, where it was not run before")
        train, val = source.records("train"), source.records("val")
        training = load_training_set(
            source,
            split=split,
            frames=_seen(towers, source, train),
            copies=_seen_copies(towers, source, train, experiment.augment) if needs_copies else (),
        )
        selection = load_selection_set(source, split=split, frames=_seen(towers, source, val))
    else:
        training, selection = load_training_set(source, split=split), load_selection_set(source, split=split)
    if keeps_outputs and towers.has_texts:
        tell("running the frozen text tower, where it was not run before")
        of_train = (text for sources in training.texts for texts in sources.values() for text in texts)
        pieces = [piece for text in (*of_train, *training.supplements, *selection.texts) for piece in text]
        encoder.kept_texts = towers.texts(pieces)
    return RunData(training=training, val=selection)


def _seen(
    towers: FrozenTowers, source: DataSource, records: Sequence[VideoRecord], views: Views | None = None
) -> ShardedArray:
    return towers.frames(source.frames_hash(records), len(records), lambda: source.frames_once(records), views=views)


def _seen_copies(
    towers: FrozenTowers, source: DataSource, records: Sequence[VideoRecord], augment: AugmentOptions
) -> list[ShardedArray]:
    found = []
    for number in range(augment.num_views):
        drawn = [augment.view(video, number) for video in range(len(records))]
        degrees, flips = (np.array(values) for values in zip(*drawn, strict=True))
        found.append(_seen(towers, source, records, Views(degrees=degrees.astype(np.float32), flip=flips)))
    return found


def load_teacher(source: DataSource) -> DualEncoder | None:
    """The encoder of the run that distillation learns from; None where there is none.

    Raises:
        StoreError: its weights are absent or damaged.
    """
    if not source.teacher:
        return None
    run = RunFolder(Path(source.teacher))
    encoder = build_dual_encoder(parse_experiment(run.read().config, origin="the teacher's settings").model)
    load_encoder(encoder, run.encoder)
    return encoder

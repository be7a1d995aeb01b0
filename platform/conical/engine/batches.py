"""Which rows make which batch: a pure function of the seed, the epoch and the step.

Nothing is consumed from a stream, so a resumed run and a run on another number of ranks see the very same batches, and
every rank stops at the same step (trap: ranks with unequal steps hang).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from conical.captioning.mix import HUMAN, PromptMix
from conical.core.errors import ConfigError, DataError
from conical.core.seeds import generator
from conical.engine.prefetch import prefetch
from conical.engine.stored_frames import Frames, require_stored
from conical.store.feature_files import ShardedArray
from conical.video.augment import AugmentOptions

# one that waits, and one in the making: where frames are decoded, their threads pass from one batch to the next at once
_BATCHES_AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Frames and texts of the training split.

    Args:
        frames: uint8, (video, frame, height, width, 3), a memory map shared by all processes of a machine or decoded
            when a batch asks for them; or float, (video, frame, width), what a frozen image tower gives of them.
        copies: the latter of each of a clip's transformed copies; empty where those are still to be made.
        texts: a video's texts by source (`human`, `A`, ...); each text is the tuple of its pieces, none longer than
            the text tower takes.
        supplements: texts of each video, in pieces, for a head that reads them; empty for others.
    """

    frames: Frames
    texts: Sequence[Mapping[str, Sequence[tuple[str, ...]]]]
    copies: Sequence[NDArray[Any] | ShardedArray] = ()
    supplements: Sequence[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        assert len(self.frames) == len(self.texts), (len(self.frames), len(self.texts))

    def __repr__(self) -> str:
        return f"TrainingSet(frames={self.frames.shape})"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One rank's share of a global batch of B rows.

    Args:
        video: (b,) number of each row's video; rows of one video are positives of each other, never negatives.
        frames: (b, frame, height, width, 3) uint8, or (b, frame, width) float where a frozen image tower has seen them.
        degrees: (b,) rotation of each row's copy.
        flip: (b,) whether the copy is mirrored.
        copies: what a frozen image tower gave of the copies, (b, frame, width); None where they are still to be made.
        supplements: texts of each row's video for a head that reads them.
    """

    video: Tensor
    texts: list[str]
    frames: Tensor
    degrees: Tensor
    flip: Tensor
    copies: Tensor | None = None
    supplements: tuple[tuple[str, ...], ...] = ()

    def rows(self, wanted: slice) -> Batch:
        """A part of the rows."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        chosen: dict[str, Any] = {name: None if value is None else value[wanted] for name, value in values.items()}
        return Batch(**chosen)

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on a device."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        return Batch(**moved)


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The order of rows.

    Args:
        data: what rows are drawn from.
        mix: chance of each text source.
        augment: which stored frames a row takes, and the range of the random copies.
        batch_size: rows of the global batch.
        rows_per_video: rows of each video per epoch.
        rank: which share of each global batch is ours.
        world_size: number of ranks; divides `batch_size`.

    Raises:
        ConfigError: the batch is larger than an epoch or is not divisible by the number of ranks, or a row is to take
            more frames than are stored.
    """

    data: TrainingSet
    mix: PromptMix
    augment: AugmentOptions
    batch_size: int
    rows_per_video: int = 1
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    steps_per_epoch: int = field(init=False)

    def __post_init__(self) -> None:
        usable = {HUMAN, *self.mix.sources()}
        mute = sum(not any(sources.get(name) for name in usable) for sources in self.data.texts)
        if mute:
            raise DataError(
                f"{mute} of {len(self.data.texts)} training videos have no text of the sources "
                f"{', '.join(sorted(usable))}: caption them first, or give mix another source"
            )
        require_stored(self.augment.num_frames, num_stored=self.data.frames.shape[1])
        rows = len(self.data.texts) * self.rows_per_video
        if self.batch_size > rows:
            raise ConfigError(
                f"optim.batch_size must be at most the {rows} rows of an epoch ({len(self.data.texts)} training videos "
                f"x {self.rows_per_video}), got {self.batch_size}: lower it or raise optim.rows_per_video"
            )
        if self.batch_size % self.world_size:
            raise ConfigError(
                f"optim.batch_size must be a multiple of ray.num_workers = {self.world_size}, got {self.batch_size}"
            )
        # the last, incomplete batch is dropped: its loss would be over fewer negatives
        object.__setattr__(self, "steps_per_epoch", rows // self.batch_size)

    def row_numbers(self, epoch: int) -> NDArray[np.int64]:
        """Rows of an epoch in order; row r belongs to video r // rows_per_video."""
        return generator(self.seed, "order", epoch).permutation(len(self.data.texts) * self.rows_per_video)

    def batches(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """This rank's share of each step's batch, two more of them made while one is used."""
        share = self.batch_size // self.world_size
        order = self.row_numbers(epoch)
        starts = [step * self.batch_size + self.rank * share for step in range(first_step, self.steps_per_epoch)]
        shares = (order[start : start + share] for start in starts)
        return prefetch(partial(self._assemble, epoch), shares, depth=_BATCHES_AHEAD)

    def longest_row(self) -> Batch:
        """One row with the longest text there is, to try a step on; no random number of training is used."""
        usable = {HUMAN, *self.mix.sources()}
        texts = (
            piece
            for sources in self.data.texts
            for name, written in sources.items()
            if name in usable
            for pieces in written
            for piece in pieces
        )
        rng = generator(self.seed, "longest row")
        positions = np.array(self.augment.draw_positions(rng, num_stored=self.data.frames.shape[1]))
        return Batch(
            video=torch.zeros(1, dtype=torch.int64),
            texts=[max(texts, key=len)],
            frames=torch.from_numpy(self.data.frames[:1][:, positions]),
            copies=torch.from_numpy(self.data.copies[0][:1][:, positions]) if self.data.copies else None,
            degrees=torch.zeros(1),
            flip=torch.zeros(1, dtype=torch.bool),
            supplements=(max(self.data.supplements, key=len),) if self.data.supplements else (),
        )

    def _assemble(self, epoch: int, rows: NDArray[np.int64]) -> Batch:
        videos = rows // self.rows_per_video
        texts, degrees, flips, positions, views = [], [], [], [], []
        for row, video in zip(rows.tolist(), videos.tolist(), strict=True):
            rng = generator(self.seed, "row", epoch, row)
            texts.append(self._draw_text(rng, self.data.texts[video]))
            if self.augment.num_views:
                views.append(int(rng.integers(self.augment.num_views)))
                angle, flip = self.augment.view(video, views[-1])
            else:
                angle, flip = self.augment.draw(rng)
            degrees.append(angle)
            flips.append(flip)
            positions.append(self.augment.draw_positions(rng, num_stored=self.data.frames.shape[1]))
        taken = np.array(positions)
        copies = None
        if self.data.copies:
            rows_of_views = zip(videos.tolist(), taken, views, strict=True)
            copies = np.stack([self.data.copies[view][video, own] for video, own, view in rows_of_views])
        return Batch(
            video=torch.from_numpy(videos),
            texts=texts,
            frames=torch.from_numpy(self.data.frames[videos[:, None], taken]),
            copies=None if copies is None else torch.from_numpy(copies),
            degrees=torch.tensor(degrees, dtype=torch.float32),
            flip=torch.tensor(flips),
            supplements=tuple(self.data.supplements[video] for video in videos.tolist())
            if self.data.supplements
            else (),
        )

    def _draw_text(self, rng: np.random.Generator, sources: Mapping[str, Sequence[tuple[str, ...]]]) -> str:
        """A source by the mix, a text of it, a piece of that, each uniformly."""
        source = self.mix.draw(rng, [name for name, texts in sources.items() if texts])
        pieces = sources[source][int(rng.integers(len(sources[source])))]
        return pieces[int(rng.integers(len(pieces)))]

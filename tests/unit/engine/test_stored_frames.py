"""A run may look at some of the stored frames: random ones of each segment to train, the centres to evaluate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conical.core.errors import ConfigError
from conical.engine.batches import TrainingSet
from conical.engine.stored_frames import ChosenFrames, scored_frames
from conical.video.augment import AugmentOptions
from unit.engine.engine_factory import batch_plan, training_set

NUM_STORED = 9


def _named_frames(num_videos: int = 8) -> np.ndarray:
    """Each pixel of a frame says video and frame: 10 x video + frame."""
    names = 10 * np.arange(num_videos)[:, None] + np.arange(NUM_STORED)
    return np.broadcast_to(names[..., None, None, None], (num_videos, NUM_STORED, 4, 4, 3)).astype(np.uint8)


def _plan(**augment: object):
    data = TrainingSet(frames=_named_frames(), texts=training_set().texts)
    return batch_plan(data=data, augment=AugmentOptions(**augment), rows_per_video=3)


def test_a_row_takes_one_frame_of_each_segment_of_its_video():
    taken = set()
    for batch in _plan(num_frames=3).batches(0):
        assert batch.frames.shape == (4, 3, 4, 4, 3)
        for video, frames in zip(batch.video.tolist(), batch.frames, strict=True):
            positions = (frames[:, 0, 0, 0].int() - 10 * video).tolist()
            assert [position // 3 for position in positions] == [0, 1, 2]  # 9 frames in 3 segments
            assert (frames == frames[:, :1, :1, :1]).all()
            taken.add(tuple(positions))
    assert len(taken) > 5  # 24 rows draw from 27 combinations


def test_the_choice_is_of_the_row_and_leaves_the_other_choices_alone():
    some, again, whole = (list(_plan(num_frames=num).batches(1)) for num in (3, 3, 0))
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(some, again, strict=True))
    for a, b in zip(some, whole, strict=True):
        assert a.texts == b.texts
        assert torch.equal(a.degrees, b.degrees)
        assert torch.equal(a.flip, b.flip)
        assert b.frames.shape[1] == NUM_STORED


def test_shares_of_two_ranks_take_the_frames_of_one_process():
    def batches(**ranks: int):
        data = TrainingSet(frames=_named_frames(), texts=training_set().texts)
        return list(batch_plan(data=data, augment=AugmentOptions(num_frames=2), **ranks).batches(0))

    shares = [batches(rank=rank, world_size=2) for rank in (0, 1)]
    for step, batch in enumerate(batches()):
        assert torch.equal(batch.frames, torch.cat([shares[0][step].frames, shares[1][step].frames]))


def test_evaluation_takes_the_centres_of_the_segments():
    chosen = scored_frames(_named_frames(), 3)
    assert chosen.positions == (1, 4, 7)
    assert chosen.shape == (8, 3, 4, 4, 3)
    assert len(chosen) == 8
    assert chosen[2:4][:, :, 0, 0, 0].tolist() == [[21, 24, 27], [31, 34, 37]]
    assert chosen[np.array([5, 0])][:, :, 0, 0, 0].tolist() == [[51, 54, 57], [1, 4, 7]]
    assert repr(chosen) == "ChosenFrames(shape=(8, 3, 4, 4, 3), positions=(1, 4, 7))"


def test_no_number_means_all_stored_frames():
    frames = _named_frames()
    assert scored_frames(frames, 0) is frames


def test_chosen_frames_are_read_when_asked_for():
    class Watched:
        """Counts the rows that are read."""

        num_read = 0
        shape = (1000, NUM_STORED, 4, 4, 3)

        def __len__(self) -> int:
            return self.shape[0]

        def __getitem__(self, index: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
            self.num_read += len(index[0])
            return np.zeros((len(index[0]), len(index[1]), 4, 4, 3), np.uint8)

    watched = Watched()
    chosen = ChosenFrames(watched, (1, 2))
    assert watched.num_read == 0
    assert chosen[10:14].shape == (4, 2, 4, 4, 3)
    assert watched.num_read == 4


@pytest.mark.parametrize("take", [lambda num: scored_frames(_named_frames(), num), lambda num: _plan(num_frames=num)])
def test_more_frames_than_are_stored_are_refused(take):
    take(9)
    with pytest.raises(ConfigError, match=r"augment.num_frames must be at most the 9 stored frames per clip, got 10: "):
        take(10)

"""Batches are a function of seed, epoch and step; ranks share them without overlap."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from conical.captioning.mix import PromptMix
from conical.core.errors import ConfigError, DataError
from conical.engine.batches import TrainingSet
from unit.engine.engine_factory import batch_plan, training_set


def test_an_epoch_holds_each_row_once():
    plan = batch_plan(rows_per_video=3)
    videos = [int(video) for batch in plan.batches(0) for video in batch.video]
    assert plan.steps_per_epoch == 6
    assert Counter(videos) == {video: 3 for video in range(8)}


def test_a_short_last_batch_is_dropped():
    plan = batch_plan(batch_size=3)
    assert [len(batch.texts) for batch in plan.batches(0)] == [3, 3]


def test_batches_are_the_same_each_time_and_other_in_another_epoch():
    first, again, other = (list(batch_plan().batches(epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(a.frames, b.frames) and a.texts == b.texts for a, b in zip(first, again, strict=True))
    assert any(a.texts != b.texts for a, b in zip(first, other, strict=True))


def test_starting_midway_gives_the_rest_of_the_same_batches():
    whole, rest = list(batch_plan().batches(1)), list(batch_plan().batches(1, first_step=1))
    assert rest[0].texts == whole[1].texts
    assert torch.equal(rest[0].degrees, whole[1].degrees)


def test_shares_of_two_ranks_make_the_batch_of_one_process():
    whole = list(batch_plan().batches(0))
    shares = [list(batch_plan(rank=rank, world_size=2).batches(0)) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert batch.texts == shares[0][step].texts + shares[1][step].texts
        assert torch.equal(batch.video, torch.cat([shares[0][step].video, shares[1][step].video]))
        assert torch.equal(batch.degrees, torch.cat([shares[0][step].degrees, shares[1][step].degrees]))


def test_frames_belong_to_the_video_of_the_row():
    data = training_set()
    for batch in batch_plan(data=data).batches(0):
        for row, video in enumerate(batch.video.tolist()):
            assert (batch.frames[row].numpy() == data.frames[video]).all()
            assert any(batch.texts[row] in text for texts in data.texts[video].values() for text in texts)


def test_texts_are_drawn_by_the_mix():
    plan = batch_plan(rows_per_video=400, mix=PromptMix({"human": 0.25, "B": 0.75}))
    texts = [text for batch in plan.batches(0) for text in batch.texts]
    share = sum(text.startswith(("one", "it")) for text in texts) / len(texts)
    # 3,200 draws: four standard errors are 0.03
    assert share == pytest.approx(0.75, abs=0.03)


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(
        ConfigError, match=r"optim.batch_size must be at most the 8 rows of an epoch .* got 10: lower it"
    ):
        batch_plan(batch_size=10)


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"must be a multiple of ray.num_workers = 3, got 4"):
        batch_plan(world_size=3)


def test_videos_without_a_text_of_the_mix_are_refused():
    data = TrainingSet(frames=training_set(2).frames, texts=[{"human": (("a",),)}, {"human": (), "C": (("b",),)}])
    with pytest.raises(DataError, match="1 of 2 training videos have no text of the sources B, human"):
        batch_plan(data=data, batch_size=2)

"""Whether frames are mapped or decoded, a run has the same batches, losses, choices and embeddings."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from conical.config import Experiment, load_experiment
from conical.core.errors import ConfigError, StoreError
from conical.engine.batches import BatchPlan
from conical.engine.data import load_evaluation_set, load_training_set
from conical.engine.embedding import embed_videos
from conical.engine.loop import EpochReport
from conical.engine.source import DataSource
from conical.engine.stored_frames import ChosenFrames
from conical.on_ray.epochs import run_epochs
from conical.runs.dependencies import data_source, run_dependencies
from conical.store import Workspace
from conical.store.frames.decoded import DecodedFrames
from ingested_stores import write_stores
from unit.runs.scored_runs import small_experiment

WAYS = ("map", "decode")
CODECS = ("raw", "jpeg")


def _experiment(small_clip: Any, codec: str, way: str, *more: str) -> Experiment:
    settings = ("optim.epochs=2", "optim.batch_size=4", "optim.rows_per_video=2", f"frames.codec={codec}")
    return small_experiment(small_clip, *settings, f"ray.frame_access={way}", *more)


def _sources(small_clip: Any, root: Path, codec: str, *more: str) -> dict[str, DataSource]:
    workspace = Workspace.open(root)
    write_stores(_experiment(small_clip, codec, "map", *more), workspace, {"train": 8, "val": 5})
    return {way: data_source(_experiment(small_clip, codec, way, *more), workspace) for way in WAYS}


def _plan(source: DataSource, experiment: Experiment, **ranks: int) -> BatchPlan:
    data = load_training_set(source, split=lambda text: [text])
    return BatchPlan(
        data=data, mix=experiment.mix, augment=experiment.augment, batch_size=4, rows_per_video=3, seed=7, **ranks
    )


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("num_frames", [0, 2])
def test_batches_are_equal_bit_for_bit(small_clip, tmp_path: Path, codec: str, num_frames: int) -> None:
    more = (f"augment.num_frames={num_frames}", "augment.flip_probability=0.5")
    sources = _sources(small_clip, tmp_path, codec, *more)
    experiment = _experiment(small_clip, codec, "map", *more)
    mapped, decoded = (_plan(sources[way], experiment, rank=1, world_size=2) for way in WAYS)
    assert isinstance(mapped.data.frames, np.memmap)
    assert isinstance(decoded.data.frames, DecodedFrames)
    num = 0
    for epoch, first_step in ((0, 0), (1, 2)):
        pairs = zip(
            mapped.batches(epoch, first_step=first_step), decoded.batches(epoch, first_step=first_step), strict=True
        )
        for one, other in pairs:
            num += 1
            assert one.texts == other.texts
            for name in ("video", "frames", "degrees", "flip"):
                assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert num == 6 + 4
    assert torch.equal(mapped.longest_row().frames, decoded.longest_row().frames)


def test_a_damaged_part_ends_the_batches_in_one_line_and_leaves_no_thread(small_clip, tmp_path: Path) -> None:
    source = _sources(small_clip, tmp_path, "jpeg")["decode"]
    plan = _plan(source, _experiment(small_clip, "jpeg", "decode"))
    (part,) = source.frame_store.path.glob("part-*")
    content = part.read_bytes()
    start = content.index(b"\xff\xd8\xff", len(content) // 3)
    part.write_bytes(content[:start] + bytes(100) + content[start + 100 :])
    with pytest.raises(StoreError, match=rf"^{part} is damaged \(.*\): delete this file and run ingest again$"):
        list(plan.batches(0))
    assert [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")] == []


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("num_frames", [0, 2])
def test_evaluation_sees_the_same_clips(small_clip, small_encoder, tmp_path: Path, codec: str, num_frames: int) -> None:
    sources = _sources(small_clip, tmp_path, codec, f"augment.num_frames={num_frames}")
    mapped, decoded = (load_evaluation_set(sources[way], "val", split=lambda text: [text]).frames for way in WAYS)
    assert isinstance(decoded, ChosenFrames if num_frames else DecodedFrames)
    assert decoded.shape == mapped.shape == (5, num_frames or 3, 32, 32, 3)
    for index in (2, slice(1, 4), np.array([4, 0, 4])):
        np.testing.assert_array_equal(decoded[index], mapped[index], strict=True)
    clips = [embed_videos(small_encoder.eval(), frames, batch_size=2) for frames in (mapped, decoded)]
    assert clips[0].keys() == clips[1].keys()
    assert all(torch.equal(clips[0][name], clips[1][name]) for name in clips[0])


@pytest.mark.parametrize("codec", CODECS)
def test_a_run_has_the_same_losses_and_the_same_val(small_clip, tmp_path: Path, codec: str) -> None:
    sources = _sources(small_clip, tmp_path, codec, "augment.num_frames=2")
    reports: dict[str, list[EpochReport]] = {way: [] for way in WAYS}
    num_arrays = {}
    for way in ("decode", "map"):
        experiment = _experiment(small_clip, codec, way, "augment.num_frames=2")
        run_epochs(experiment, sources[way], report=reports[way].append, warn=lambda text: None)
        num_arrays[way] = len(list(tmp_path.rglob("*.npy")))
    assert num_arrays == {"decode": 0, "map": 2}
    assert len(reports["map"]) == 3
    for mapped, decoded in zip(*(reports[way] for way in WAYS), strict=True):
        assert mapped.step_metrics == decoded.step_metrics
        assert mapped.val_metrics == decoded.val_metrics
    losses = [row["loss"] for row in reports["map"][-1].step_metrics]
    assert len(losses) == 4
    assert len(set(losses)) == 4


@pytest.mark.parametrize(("free", "kind"), [(10**12, np.memmap), (10**4, DecodedFrames)])
def test_by_default_the_room_decides(
    small_clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: type
) -> None:
    assert load_experiment(None).ray.frame_access == "auto"
    sources = _sources(small_clip, tmp_path, "raw")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    source = data_source(_experiment(small_clip, "raw", "auto"), Workspace.open(tmp_path))
    records = source.records("train")
    assert isinstance(source.frames(records), kind)
    sources["map"].frames(records)
    assert isinstance(source.frames(records), np.memmap)  # it is there now
    assert isinstance(sources["decode"].frames(records), DecodedFrames)


def test_how_frames_are_read_is_no_part_of_what_a_run_depends_on(small_clip, tmp_path: Path) -> None:
    sources = _sources(small_clip, tmp_path, "raw")
    keys = {
        run_dependencies(_experiment(small_clip, "raw", way), Workspace.open(tmp_path), sources[way]).key
        for way in WAYS
    }
    assert len(keys) == 1


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ray\.frame_access must be one of auto, map, decode; got 'mmap'"):
        load_experiment(None, ["ray.frame_access=mmap"])

"""Sampling, windows and counts; each frame's grey level names its index. Kinds of file are in test_accuracy.py."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clip_factory import named_indices, write_clip, write_pictures
from conical.core.errors import ConfigError, DecodeError
from conical.video import FrameRecipe, probe, sample_frames
from conical.workbench.frame_accuracy.clip_files import copy_from_second_key

B_FRAMES = {"bf": "3", "b_strategy": "0", "g": "12"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"}
BACKENDS = [
    "pyav",
    pytest.param(
        "decord",
        marks=pytest.mark.skipif(importlib.util.find_spec("decord") is None, reason="decord is not on this platform"),
    ),
]


@pytest.mark.parametrize("decoder", BACKENDS)
def test_backends_agree_byte_for_byte(tmp_path: Path, decoder: str) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (36, 64, 3), np.uint8) for _ in range(9)]
    path = write_pictures(tmp_path / "noise.mp4", pictures, options=B_FRAMES)
    sampled = sample_frames(path, FrameRecipe(size=24, decoder=decoder))
    expected = sample_frames(path, FrameRecipe(size=24))
    np.testing.assert_array_equal(sampled.frames, expected.frames)
    assert sampled.pts_seconds == expected.pts_seconds


def test_frames_are_named_wrongly_if_they_are_shifted_by_one(tmp_path: Path) -> None:
    # the suite itself can fail: neighbouring frames have different names
    path = write_clip(tmp_path / "clip.mp4")
    sampled = sample_frames(path, FrameRecipe(size=16, num_frames=30))
    assert named_indices(sampled.frames) == list(range(30))


def test_variable_rate_times_are_the_files_own(tmp_path: Path) -> None:
    ticks = [0, 10, 200, 230, 900]
    path = write_clip(tmp_path / "clip.mp4", num_frames=5, ticks=ticks)
    sampled = sample_frames(path, FrameRecipe(size=16, num_frames=5))
    assert sampled.pts_seconds == pytest.approx([tick / 1000 for tick in ticks])


@pytest.mark.parametrize("kind", ["h264_b_frames.mp4", "h264_b_frames.avi", "late_start.mp4"])
def test_a_window_holds_the_frames_of_its_times(tmp_path: Path, kind: str) -> None:
    ticks = [5000 + 40 * index for index in range(30)] if kind == "late_start.mp4" else None
    path = write_clip(tmp_path / kind, options=B_FRAMES, ticks=ticks)
    sampled = sample_frames(path, FrameRecipe(size=16, num_frames=3), start_seconds=0.2, end_seconds=0.6)
    assert sampled.frame_indices == (5, 10, 14)  # 25 frames per second: 5 to 14 lie in [0.2, 0.6)
    assert named_indices(sampled.frames) == [5, 10, 14]


@pytest.mark.parametrize("decoder", BACKENDS)
def test_a_window_between_two_frames_has_the_one_on_show(tmp_path: Path, decoder: str) -> None:
    path = write_clip(tmp_path / "clip.mp4", num_frames=12, ticks=[round(1000 * index / 3) for index in range(12)])
    recipe = FrameRecipe(size=16, num_frames=2, decoder=decoder)
    # frames at 2.667, 3.0 and 3.333 s
    sampled = sample_frames(path, recipe, start_seconds=3.05, end_seconds=3.15)
    assert (sampled.frame_indices, sampled.is_padded) == ((9, 9), True)
    assert named_indices(sampled.frames) == [9, 9]
    assert sampled.pts_seconds == pytest.approx((3.0, 3.0))
    # a window that starts at a frame holds that one
    assert sample_frames(path, recipe, start_seconds=3.0, end_seconds=3.1).frame_indices == (9, 9)
    # how long the last frame, of 3.667 s, is on show is not known
    with pytest.raises(DecodeError, match=r"no frame between 3.9 s and 4.0 s; the file lasts 3.667 s") as caught:
        sample_frames(path, recipe, start_seconds=3.9, end_seconds=4.0)
    assert caught.value.kind == "truncated"


def test_a_window_past_the_end_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", num_frames=10)
    with pytest.raises(DecodeError, match=r"no frame between 3.0 s and 4.0 s; the file lasts 0.360 s") as caught:
        sample_frames(path, FrameRecipe(size=16), start_seconds=3.0, end_seconds=4.0)
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_dropped_at_an_open_start_are_not_counted(tmp_path: Path, codec: str) -> None:
    options = (
        OPEN_GOP if codec == "libx264" else {"x265-params": "log-level=none:open-gop=1:keyint=8", "preset": "ultrafast"}
    )
    whole = write_clip(tmp_path / "whole.mp4", codec=codec, options=options)
    cut = copy_from_second_key(whole, tmp_path / "cut.mp4")
    sampled = sample_frames(cut, FrameRecipe(size=16, num_frames=22))
    assert named_indices(sampled.frames) == list(range(8, 30))
    assert sampled.frame_indices == tuple(range(22))


def test_a_count_that_the_packets_overstate_costs_a_second_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "clip.mp4", num_frames=20)
    honest = probe(path)
    overstated = type(honest)(**{**vars(honest), "frame_seconds": (*honest.frame_seconds, 0.8, 0.84)})
    monkeypatch.setattr("conical.video.decode.probe", lambda _: overstated)
    sampled = sample_frames(path, FrameRecipe(size=16, num_frames=5))
    assert sampled.frame_indices == (0, 5, 10, 14, 19)
    assert named_indices(sampled.frames) == [0, 5, 10, 14, 19]


def test_a_short_clip_repeats_its_last_frame(tmp_path: Path) -> None:
    sampled = sample_frames(write_clip(tmp_path / "clip.mp4", num_frames=3), FrameRecipe(size=16, num_frames=5))
    assert sampled.is_padded
    assert named_indices(sampled.frames) == [0, 1, 2, 2, 2]


def test_damage_inside_a_file_is_corrupt(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", muxer_options={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 400
    content[start : start + 600] = b"\xff" * 600
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="the decoder refuses a packet") as caught:
        sample_frames(path, FrameRecipe(size=16))
    assert caught.value.kind == "corrupt"


def test_a_backend_from_outside_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", num_frames=1)
    with pytest.raises(ConfigError, match="decoder 'nowhere_at_all:frames' cannot be imported"):
        sample_frames(path, FrameRecipe(decoder="nowhere_at_all:frames"))


@pytest.mark.parametrize("sampler", ["uniform", "segment_centre", "random_segment", "fps"])
def test_every_sampler_stays_in_the_half_open_window(tmp_path: Path, sampler: str) -> None:
    path = write_clip(tmp_path / "clip.mp4", options=B_FRAMES)
    recipe = FrameRecipe(size=16, num_frames=4, sampler=sampler, sample_fps=10.0)
    sampled = sample_frames(path, recipe, start_seconds=0.2, end_seconds=0.6)
    assert set(sampled.frame_indices) <= set(range(5, 15))  # 25 frames per second
    assert named_indices(sampled.frames) == list(sampled.frame_indices)
    assert sampled.pts_seconds == pytest.approx([index / 25 for index in sampled.frame_indices])


def test_frames_at_a_rate_start_at_the_window(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", options=B_FRAMES)
    recipe = FrameRecipe(size=16, num_frames=6, sampler="fps", sample_fps=5.0)
    sampled = sample_frames(path, recipe, start_seconds=0.2)
    # moments 0.2, 0.4, 0.6, 0.8, 1.0; the last frame is at 1.16 s
    assert sampled.frame_indices == (5, 10, 15, 20, 25, 25)
    assert sampled.is_padded


def test_the_random_choice_is_of_the_files_name_its_window_and_the_seed(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    moved = tmp_path / "elsewhere" / "clip.mp4"
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    other = path.with_name("other.mp4")
    other.write_bytes(path.read_bytes())
    recipe = FrameRecipe(size=16, num_frames=5, sampler="random_segment")
    drawn = sample_frames(path, recipe).frame_indices
    assert sample_frames(moved, recipe).frame_indices == drawn
    assert sample_frames(other, recipe).frame_indices != drawn
    assert sample_frames(path, replace(recipe, sampler_seed=1)).frame_indices != drawn
    assert sample_frames(path, recipe, end_seconds=60.0).frame_indices != drawn

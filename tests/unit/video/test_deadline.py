from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clip_factory import named_indices, write_clip
from conical.core.errors import DecodeError
from conical.video import DecodedFrame, DecodeProcess, FrameRecipe, VideoInfo, sample_frames
from conical.video.backends.pyav import pyav_frames

THIS_FILE = Path(__file__)
PLUG_IN = THIS_FILE.stem
TOO_SLOW = "bad.mp4: not decoded within 2 s: raise ray.decode_deadline_seconds, then conical ingest --retry-failed"


def hanging_frames(info: VideoInfo) -> Iterator[DecodedFrame]:
    """A decoder that never answers for one file."""
    if info.path.stem == "bad":
        time.sleep(3600)
    yield from pyav_frames(info)


def sleepy_frames(info: VideoInfo) -> Iterator[DecodedFrame]:
    """A decoder that takes two seconds."""
    time.sleep(2)
    yield from pyav_frames(info)


def crashing_frames(info: VideoInfo) -> Iterator[DecodedFrame]:
    """A decoder that takes its process with it for one file."""
    if info.path.stem == "bad":
        os.abort()
    yield from pyav_frames(info)


def crashing_once_frames(info: VideoInfo) -> Iterator[DecodedFrame]:
    """A decoder that dies the first time it is used."""
    mark = info.path.with_suffix(".mark")
    if not mark.exists():
        mark.touch()
        os.abort()
    yield from pyav_frames(info)


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # the child process finds this file's decoders by the parent's search path
    monkeypatch.syspath_prepend(THIS_FILE.parent)
    for name in ("good", "bad"):
        write_clip(tmp_path / f"{name}.mp4", num_frames=12)
    return tmp_path


def _recipe(decoder: str) -> FrameRecipe:
    return FrameRecipe(size=16, num_frames=4, decoder=decoder)


def test_the_child_gives_the_same_frames(clips: Path) -> None:
    expected = sample_frames(clips / "good.mp4", _recipe("auto"), start_seconds=0.1)
    with DecodeProcess(_recipe("auto")) as process:
        for _ in range(2):
            sampled = process.sample(clips / "good.mp4", start_seconds=0.1)
            np.testing.assert_array_equal(sampled.frames, expected.frames)
            assert (sampled.frame_indices, sampled.pts_seconds) == (expected.frame_indices, expected.pts_seconds)
            assert sampled.frames.flags.writeable


def test_a_failure_keeps_its_kind_and_the_child_lives_on(clips: Path) -> None:
    with DecodeProcess(_recipe("auto")) as process:
        with pytest.raises(DecodeError, match=r"absent.mp4: no such file") as caught:
            process.sample(clips / "absent.mp4")
        assert caught.value.kind == "missing"
        assert named_indices(process.sample(clips / "good.mp4").frames) == [0, 4, 7, 11]


def test_a_decoder_that_hangs_is_too_slow_and_does_not_hurt_the_next_file(clips: Path) -> None:
    with DecodeProcess(_recipe(f"{PLUG_IN}:hanging_frames"), deadline_seconds=2.0) as process:
        with pytest.raises(DecodeError, match=TOO_SLOW) as caught:
            process.sample(clips / "bad.mp4")
        assert caught.value.kind == "too_slow"
        assert named_indices(process.sample(clips / "good.mp4").frames) == [0, 4, 7, 11]


def test_a_large_file_is_given_more_time(clips: Path) -> None:
    with (clips / "good.mp4").open("ab") as file:
        # a box that players skip: the size alone counts
        file.write((8_000_000).to_bytes(4, "big") + b"free")
        file.truncate(file.tell() + 8_000_000 - 8)
    with DecodeProcess(_recipe(f"{PLUG_IN}:sleepy_frames"), deadline_seconds=1.0) as process:
        assert named_indices(process.sample(clips / "good.mp4").frames) == [0, 4, 7, 11]
        with pytest.raises(DecodeError, match=r"bad\.mp4: not decoded within 1 s"):
            process.sample(clips / "bad.mp4")


def test_a_decoder_that_dies_twice_is_crashed_and_does_not_hurt_the_next_file(clips: Path) -> None:
    with DecodeProcess(_recipe(f"{PLUG_IN}:crashing_frames")) as process:
        with pytest.raises(DecodeError, match=r"bad.mp4: the decoding process died twice \(signal SIGABRT") as caught:
            process.sample(clips / "bad.mp4")
        assert caught.value.kind == "crashed"
        assert named_indices(process.sample(clips / "good.mp4").frames) == [0, 4, 7, 11]


def test_a_child_that_dies_once_is_replaced_unseen(clips: Path) -> None:
    with DecodeProcess(_recipe(f"{PLUG_IN}:crashing_once_frames")) as process:
        assert named_indices(process.sample(clips / "good.mp4").frames) == [0, 4, 7, 11]


def test_a_deadline_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="deadline_seconds must be > 0, got 0"):
        DecodeProcess(FrameRecipe(), deadline_seconds=0)

from __future__ import annotations

from pathlib import Path

import pytest

from clip_factory import write_clip, write_sound
from conical.core.errors import DecodeError
from conical.video import probe


def test_a_probe_counts_packets_and_tells_times(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "clip.mp4", num_frames=12, options={"bf": "2", "b_strategy": "0"}))
    assert (info.codec, info.width, info.height, info.num_frames) == ("h264", 64, 48, 12)
    assert info.frame_seconds == tuple(round(k / 25, 6) for k in range(12))
    assert info.has_b_frames
    assert repr(info) == "VideoInfo('clip.mp4', mov,mp4,m4a,3gp,3g2,mj2/h264 64x48, 12 frames, 0.440 s)"


def test_a_late_start_is_taken_off(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "late.mp4", num_frames=3, ticks=[5000, 5040, 5100]))
    assert info.frame_seconds == (0.0, 0.04, 0.1)
    assert info.origin_seconds == pytest.approx(5.0)


def _failure_of(path: Path) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        probe(path)
    return caught.value


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = _failure_of(tmp_path / "absent.mp4")
    assert (error.kind, str(error)) == ("missing", "absent.mp4: no such file")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    error = _failure_of(tmp_path / "clip.mp4")
    assert (error.kind, str(error)) == ("empty", "clip.mp4: the file has zero bytes")


def test_text_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("this was never a video " * 50)
    error = _failure_of(tmp_path / "clip.mp4")
    assert error.kind == "not_a_video"
    assert "no container format recognises it" in str(error)


def test_sound_alone_has_no_video_stream(tmp_path: Path) -> None:
    error = _failure_of(write_sound(tmp_path / "clip.mp4"))
    assert error.kind == "no_video_stream"
    assert "without a video stream" in str(error)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mkv"])
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_a_cut_file_is_truncated(tmp_path: Path, name: str, fraction: float) -> None:
    path = write_clip(tmp_path / name, num_frames=30, options={"g": "5"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    assert _failure_of(path).kind == "truncated"


def test_a_cut_file_with_its_index_in_front_says_how_many_frames_are_left(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", num_frames=30, muxer_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-200])
    error = _failure_of(path)
    assert error.kind == "truncated"
    assert "of 30 packets" in str(error)


def test_a_container_that_cannot_be_read_is_corrupt(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", num_frames=5)
    content = bytearray(path.read_bytes())
    position = content.index(b"moov")
    content[position : position + 4] = b"junk"
    path.write_bytes(content)
    error = _failure_of(path)
    assert error.kind == "corrupt"
    assert "the container cannot be read" in str(error)

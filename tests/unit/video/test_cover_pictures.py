"""Files of phones, podcasts and downloaders hold a picture beside the video, or in its place."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from conical.core.errors import DecodeError
from conical.video import FrameRecipe, probe, sample_frames

_COVER, _FILM = 250, 40  # grey levels


def _grey(level: int, pts: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
    frame.pts = pts
    return frame


def _write(path: Path, *, cover: str, codec: str = "libx264", num_frames: int = 8) -> Path:
    """A picture as stream 0, then a film (or, with codec "aac", sound)."""
    with av.open(path, "w") as container:
        picture = container.add_stream(cover, rate=1)
        picture.width = picture.height = 64
        picture.pix_fmt = "rgb24" if cover == "png" else "yuvj420p"
        picture.disposition = Disposition.attached_pic
        if codec == "aac":
            film = container.add_stream(codec, rate=44100, layout="mono")
        else:
            film = container.add_stream(codec, rate=25)
            film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
        container.mux([*picture.encode(_grey(_COVER, 0)), *picture.encode()])
        if codec == "aac":
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 44100, 0
            container.mux(film.encode(sound))
        else:
            for index in range(num_frames):
                container.mux(film.encode(_grey(_FILM, index)))
        container.mux(film.encode())
    return path


def _tags_first(path: Path) -> Path:
    """Put the tags (`udta`, with the cover) before the tracks, as many writers do: the cover is stream 0 then."""
    data = path.read_bytes()
    start, moov = next((at, box) for at, kind, box in _boxes(data, 0) if kind == b"moov")
    children = list(_boxes(moov, 8))
    order = sorted(children, key=lambda child: child[1] != b"udta")
    moved = moov[:8] + b"".join(box for _, _, box in order)
    path.write_bytes(data[:start] + moved + data[start + len(moov) :])
    return path


def _boxes(data: bytes, position: int):
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        yield position, data[position + 4 : position + 8], data[position : position + length]
        position += length


@pytest.fixture(params=["tags first.mp4", "tags last.mp4", "picture as a track.mkv"])
def covered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = _write(tmp_path / request.param, cover="mjpeg" if request.param.endswith("mkv") else "png")
    return _tags_first(path) if request.param.startswith("tags first") else path


def test_the_film_is_read_and_not_the_cover(covered: Path) -> None:
    info = probe(covered)
    assert (info.codec, info.num_frames, info.num_video_streams) == ("h264", 8, 2)
    sampled = sample_frames(covered, FrameRecipe(size=16, num_frames=4))
    assert sampled.frame_indices == (0, 2, 5, 7)
    assert abs(int(sampled.frames.mean()) - _FILM) < 8


def test_the_cover_does_come_first_in_one_of_these_files(tmp_path: Path) -> None:
    path = _tags_first(_write(tmp_path / "a.mp4", cover="png"))
    with av.open(path) as container:
        assert container.streams.video[0].disposition & Disposition.attached_pic
    assert probe(path).stream_index == 1


@pytest.mark.parametrize("name", ["podcast.mp4", "podcast.m4a"])
def test_sound_with_a_cover_has_no_video(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "a.mp4", cover="png", codec="aac").rename(tmp_path / name)
    with pytest.raises(DecodeError, match="a cover picture, but no video") as caught:
        probe(path)
    assert caught.value.kind == "no_video_stream"


def test_a_film_of_pictures_is_read(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.avi", "w") as container:
        film = container.add_stream("mjpeg", rate=25)
        film.width, film.height, film.pix_fmt = 64, 64, "yuvj420p"
        for index in range(5):
            container.mux(film.encode(_grey(_FILM, index)))
        container.mux(film.encode())
    assert (probe(tmp_path / "a.avi").codec, probe(tmp_path / "a.avi").num_frames) == ("mjpeg", 5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "a.mp4: no such file"),
        ("missing", r"a.mp4: a link that leads nowhere \(nowhere.mp4\)"),
        ("empty", "a.mp4: the file has zero bytes"),
        ("refused", "a.mp4: neither a file nor a folder of images"),
        ("not_a_video", "a.mp4"),
    ],
)
def test_a_path_that_is_no_video_has_one_reason(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "a.mp4"
    if "link" in message:
        path.symlink_to("nowhere.mp4")
    elif kind == "empty":
        path.touch()
    elif kind == "refused":
        os.mkfifo(path)  # opening one would wait for a writer for ever
    elif kind == "not_a_video":
        path.write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(DecodeError, match=message) as caught:
        probe(path)
    assert caught.value.kind == kind


def test_a_folder_named_like_a_video_is_a_folder_of_images_or_has_one_reason(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(DecodeError, match=r"x\.mp4") as caught:
        probe(tmp_path / "x.mp4")
    assert caught.value.kind in ("empty", "not_a_video")

"""Every kind of clip by every decoder: a frame is either the right one or refused."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from conical.core.errors import DecodeError
from conical.core.records import SampledFrames
from conical.video import FrameRecipe, sample_frames
from conical.video.backends.rules import AUTO_ORDER, RULES
from conical.video.decode import BACKENDS
from conical.workbench.frame_accuracy.kinds import KINDS
from conical.workbench.frame_accuracy.suite import Accuracy, count_exact, decoder_reader, measure

# What is refused rather than risked; all else must be exact.
REFUSED = {
    "decord": {
        *(name for name in KINDS if name.endswith((".mkv", ".webm", ".ts", ".flv", ".asf", ".h264"))),
        *(name for name in KINDS if "rotated" in name or "mirrored" in name or "size" in name or "10_bit" in name),
        "av1.mp4",
        "hevc_open_gop_cut.mp4",
        "open_gop_cut.mp4",
        "trimmed_by_edit_list.mp4",
        "width_48.mp4",
    },
    "torchcodec": {
        *(name for name in KINDS if name.endswith((".avi", ".mpg", ".ts", ".flv", ".asf", ".h264"))),
        *(name for name in KINDS if "rotated" in name or "mirrored" in name or "odd_size" in name or "10_bit" in name),
        "open_gop_cut.mkv",
    },
}
DECODERS = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")
    )
    for name in ("decord", "torchcodec")
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    # encoders talk on standard error
    av.logging.set_level(None)
    for name, kind in KINDS.items():
        kind.write(folder / name)
    return folder


@pytest.fixture(scope="module")
def by_pyav(clips: Path) -> dict[str, Accuracy]:
    return {name: _measured(clips, name, "pyav") for name in KINDS}


def _measured(clips: Path, name: str, decoder: str) -> Accuracy:
    return measure(KINDS[name], clips / name, name=name, reader_name=decoder, reader=decoder_reader(decoder))


@pytest.mark.parametrize("name", KINDS)
def test_pyav_is_exact_on_every_kind(by_pyav: dict[str, Accuracy], name: str) -> None:
    assert (by_pyav[name].status, by_pyav[name].refusal) == ("exact", "")


@pytest.mark.parametrize("decoder", DECODERS)
def test_other_decoders_give_the_same_pixels_or_are_refused(
    clips: Path, by_pyav: dict[str, Accuracy], decoder: str
) -> None:
    found = {name: _measured(clips, name, decoder) for name in KINDS}
    assert {name for name, result in found.items() if result.status == "refused"} == REFUSED[decoder]
    assert [name for name, result in found.items() if result.status == "wrong"] == []
    allowed = [name for name in KINDS if name not in REFUSED[decoder]]
    assert [name for name in allowed if found[name].pixels != by_pyav[name].pixels] == []


@pytest.mark.parametrize("name", KINDS)
def test_auto_is_the_first_of_its_order_wherever_that_is_allowed(clips: Path, name: str) -> None:
    assert AUTO_ORDER[0] not in RULES
    sampled = sample_frames(clips / name, FrameRecipe(num_frames=3, size=32))
    assert sampled.decoder == AUTO_ORDER[0]


def test_auto_takes_the_next_decoder_where_the_first_refuses(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    monkeypatch.setitem(BACKENDS, "pyav", _refusing)
    recipe = FrameRecipe(num_frames=30, size=64)
    sampled = sample_frames(clips / "h264_b_frames.mp4", recipe)
    installed = [name for name in AUTO_ORDER[1:] if importlib.util.find_spec(name)]
    assert sampled.decoder == installed[0]
    assert count_exact(KINDS["h264_b_frames.mp4"], sampled) == 30
    # no other one may read it: the first refusal is told
    with pytest.raises(DecodeError, match="not today"):
        sample_frames(clips / "size_changes.ts", recipe)


def _refusing(info: object) -> object:
    raise DecodeError("refused", "not today")
    yield


def test_auto_does_not_hide_damage_behind_another_decoder(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(info: object) -> object:
        raise DecodeError("corrupt", "the decoder refuses a packet")
        yield

    monkeypatch.setitem(BACKENDS, "pyav", damaged)
    with pytest.raises(DecodeError, match="refuses a packet"):
        sample_frames(clips / "h264_b_frames.mp4", FrameRecipe(size=32))


def test_a_picture_turned_by_an_angle_between_is_refused_by_all(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(45)
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode())
    with pytest.raises(DecodeError, match="rotation must be a multiple of 90 degrees, got 45") as caught:
        sample_frames(path, FrameRecipe(size=32))
    assert caught.value.kind == "refused"
    pytest.importorskip("decord")
    with pytest.raises(DecodeError, match="decord is not exact on turned pictures; choose decoder = 'pyav'"):
        sample_frames(path, FrameRecipe(size=32, decoder="decord"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mirrored.mp4", "decord is not exact on turned pictures"),
        ("rotated_180.mp4", "decord is not exact on turned pictures"),
        ("size_changes.avi", "decord cannot follow a change of size"),
        ("trimmed_by_edit_list.mp4", "decord counts 30 frames, the file shows 25"),
        ("width_48.mp4", "decord misreads a width of 48 px"),
        ("odd_size.avi", r"decord is not exact on an odd size \(95 x 63\)"),
        ("rotated_90.mkv", "decord is not exact on yuv420p in matroska,webm"),
        ("hevc_10_bit.mp4", "decord is not exact on yuv420p10le in mov"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(clips: Path, name: str, message: str) -> None:
    pytest.importorskip("decord")
    with pytest.raises(DecodeError, match=f"{message}.*; choose decoder = 'pyav'") as caught:
        sample_frames(clips / name, FrameRecipe(size=32, decoder="decord"))
    assert caught.value.kind == "refused"


def test_torchcodec_that_is_not_installed_is_named(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(DecodeError, match="torchcodec is not installed: choose decoder = 'pyav'") as caught:
        sample_frames(clips / "vp9.webm", FrameRecipe(size=32, decoder="torchcodec"))
    assert caught.value.kind == "refused"


def test_torchcodec_without_its_libraries_says_so(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torchcodec"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('Could not load libtorchcodec')")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(DecodeError, match="torchcodec cannot be loaded: install FFmpeg's shared libraries"):
        sample_frames(clips / "vp9.webm", FrameRecipe(size=32, decoder="torchcodec"))


@pytest.mark.parametrize("name", ["h264_b_frames.avi", "size_changes.h264", "wide_pixels_rotated_90.mp4"])
def test_the_suite_itself_can_fail(clips: Path, name: str) -> None:
    kind = KINDS[name]
    right = sample_frames(clips / name, FrameRecipe(num_frames=30, size=64))
    assert count_exact(kind, right) == 30
    shifted = replace(right, frames=np.roll(right.frames, 1, axis=0))
    turned = replace(right, frames=np.ascontiguousarray(np.rot90(right.frames, axes=(1, 2))))
    late = replace(right, pts_seconds=tuple(seconds + 0.04 for seconds in right.pts_seconds))
    beyond = replace(right, frame_indices=tuple(index + 30 for index in right.frame_indices))
    for wrong in (shifted, turned, late, beyond):
        assert count_exact(kind, wrong) == 0


def test_a_refused_clip_has_no_frames_and_a_reason(clips: Path) -> None:
    def refuses(path: Path, num_frames: int) -> SampledFrames:
        raise DecodeError("refused", "no")

    result = measure(KINDS["vp9.webm"], clips / "vp9.webm", name="vp9.webm", reader_name="none", reader=refuses)
    assert (result.status, result.num_exact, result.num_frames, result.refusal) == ("refused", 0, 30, "no")


def test_repeats_must_be_positive(clips: Path) -> None:
    with pytest.raises(ValueError, match="repeats must be >= 1, got 0"):
        measure(
            KINDS["vp9.webm"],
            clips / "vp9.webm",
            name="x",
            reader_name="pyav",
            reader=decoder_reader("pyav"),
            repeats=0,
        )


def test_of_several_video_streams_the_first_is_read_and_others_may_not_choose(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = tmp_path / "two.mp4"
    with av.open(path, "w") as container:
        streams = []
        for size in (64, 128):  # players, and decord, would take the larger one
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            streams.append(stream)
        for level, stream in zip((60, 200), streams, strict=True):
            side = stream.width
            picture = av.VideoFrame.from_ndarray(np.full((side, side, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
            container.mux(stream.encode())
    sampled = sample_frames(path, FrameRecipe(num_frames=1, size=32))
    assert abs(float(sampled.frames.mean()) - 60) < 4
    with pytest.raises(DecodeError, match="decord is not exact on several video streams; choose decoder = 'pyav'"):
        sample_frames(path, FrameRecipe(num_frames=1, size=32, decoder="decord"))

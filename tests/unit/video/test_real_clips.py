"""Real files, where they are on the machine: CONICAL_SHARED_DATA, or shared/data beside the checkout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from conical.core.errors import DecodeError
from conical.core.records import FAILURE_KINDS
from conical.video import DecodeProcess, FrameRecipe, Orientation, centre_square, probe, sample_frames

DATA = Path(os.environ.get("CONICAL_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="real clips are absent: set CONICAL_SHARED_DATA"),
]
EXPECTED = {
    "bad_video.mp4": "not_a_video",
    "corrupted.mp4": "corrupt",
    "gif.gif": "corrupt",
    "mp4-with-audio.mp4": "no_video_stream",
    "mp4parse_capi__chunk_out_of_range.mp4": "corrupt",
    "zero_bytes.mp4": "empty",
}


def _by_pyav(path: Path) -> Iterator[np.ndarray]:
    import av

    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _by_decord(path: Path) -> Iterator[np.ndarray]:
    decord = pytest.importorskip("decord")
    reader = decord.VideoReader(str(path), num_threads=1)
    for _ in range(len(reader)):
        yield reader.next().asnumpy()


@pytest.mark.parametrize("reference", [_by_pyav, _by_decord])
@pytest.mark.parametrize("folder", ["msvd", "msrvtt"])
def test_all_ten_frames_of_real_clips_are_those_of_a_plain_reading(
    folder: str, reference: Callable[[Path], Iterator[np.ndarray]]
) -> None:
    paths = sorted((DATA / "clips" / folder).iterdir())
    assert len(paths) == {"msvd": 4, "msrvtt": 6}[folder]
    for path in paths:
        sampled = {name: sample_frames(path, FrameRecipe(size=64, decoder=name)) for name in ("auto", "pyav", "decord")}
        indices = sampled["auto"].frame_indices
        # every frame of the file, from the first on; the last one asked for is the last one there is
        pictures = {index: picture for index, picture in enumerate(reference(path)) if index in {*indices, 0}}
        assert (indices[0], indices[-1], len(set(indices))) == (0, max(pictures), 10), path.name
        shown = Orientation(sample_aspect=probe(path).sample_aspect)
        expected = np.stack([centre_square(pictures[index], size=64, orientation=shown) for index in indices])
        for name, found in sampled.items():
            assert found.frame_indices == indices, (path.name, name)
            np.testing.assert_array_equal(found.frames, expected, err_msg=f"{path.name} by {name}")


def test_awkward_files_have_the_same_frames_by_every_decoder_that_may_read_them() -> None:
    recipes = {name: FrameRecipe(size=64, decoder=name) for name in ("pyav", "decord", "torchcodec")}
    num_compared, refusals = 0, set()
    for path in sorted((DATA / "awkward").iterdir()):
        if path.name in EXPECTED:
            continue
        ours = sample_frames(path, recipes["pyav"])
        for name in ("decord", "torchcodec"):
            try:
                other = sample_frames(path, recipes[name])
            except DecodeError as error:
                refusals.add(error.kind)
                continue
            num_compared += 1
            assert other.frame_indices == ours.frame_indices, (path.name, name)
            np.testing.assert_array_equal(other.frames, ours.frames, err_msg=f"{path.name} by {name}")
    assert refusals == {"refused"}
    assert num_compared >= 5 or find_spec("decord") is None


def test_each_awkward_file_is_decoded_or_named() -> None:
    kinds = {}
    with DecodeProcess(FrameRecipe(size=64)) as process:
        for path in sorted((DATA / "awkward").iterdir()):
            try:
                assert process.sample(path).frames.shape == (10, 64, 64, 3)
            except DecodeError as error:
                kinds[path.name] = error.kind
    assert kinds == EXPECTED
    assert set(kinds.values()) <= set(FAILURE_KINDS)


def test_all_folders_of_real_frames_are_sampled() -> None:
    folders = sorted((DATA / "frames").iterdir())
    assert len(folders) >= 500
    for folder in folders:
        sampled = sample_frames(folder, FrameRecipe(size=32, num_frames=2))
        assert (sampled.frame_indices, sampled.is_padded, sampled.decoder) == ((0, 1), False, "images"), folder.name
        assert sampled.frames.std() > 0, folder.name

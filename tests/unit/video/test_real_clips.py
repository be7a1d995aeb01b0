"""Real files, where they are on the machine: CONICAL_SHARED_DATA, or shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from conical.core.errors import DecodeError
from conical.core.records import FAILURE_KINDS
from conical.video import DecodeProcess, FrameRecipe, sample_frames

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


@pytest.mark.parametrize("folder", ["msvd", "msrvtt"])
def test_both_backends_read_the_same_frames_of_real_clips(folder: str) -> None:
    pytest.importorskip("decord")
    paths = sorted((DATA / "clips" / folder).iterdir())
    assert paths
    for path in paths:
        ours, other = (sample_frames(path, FrameRecipe(size=64, decoder=name)) for name in ("pyav", "decord"))
        assert ours.frame_indices == other.frame_indices, path.name
        np.testing.assert_array_equal(ours.frames, other.frames, err_msg=path.name)


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
    assert len(folders) == 500
    for folder in folders:
        sampled = sample_frames(folder, FrameRecipe(size=32, num_frames=2))
        assert (sampled.frame_indices, sampled.is_padded, sampled.decoder) == ((0, 1), False, "images"), folder.name
        assert sampled.frames.std() > 0, folder.name

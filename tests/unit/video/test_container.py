from __future__ import annotations

from pathlib import Path

import pytest

from clip_factory import write_clip
from conical.video.container import container_kind, num_missing_bytes

KINDS = {"clip.mp4": "mp4", "clip.mov": "mp4", "clip.avi": "riff", "clip.mkv": "matroska"}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_complete_file_misses_nothing(tmp_path: Path, name: str, kind: str) -> None:
    path = write_clip(tmp_path / name, num_frames=12)
    assert container_kind(path) == kind
    assert num_missing_bytes(path) == 0


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_file_misses_what_was_cut(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, num_frames=12)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert num_missing_bytes(path) == 100


def test_a_stream_without_lengths_says_nothing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.ts", num_frames=12)
    path.write_bytes(path.read_bytes()[:-188])
    assert container_kind(path) is None
    assert num_missing_bytes(path) == 0

"""Whether the array of all frames is worth its room on the disk is decided once for all processes of a machine."""

from __future__ import annotations

import fcntl
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from conical.core.errors import StoreError
from conical.core.records import SampledFrames
from conical.store import FrameRow, FrameStore
from conical.store.frames import map as frame_map
from conical.store.frames.map import is_map_affordable

GB = 10**9


def free_disk(monkeypatch: pytest.MonkeyPatch, num_bytes: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=num_bytes))


@pytest.mark.parametrize(
    ("num_bytes", "free", "is_affordable"),
    [
        (15 * GB, 30 * GB, True),
        (15 * GB + 1, 30 * GB, False),
        (20 * GB, 10**15, True),
        (20 * GB + 1, 10**15, False),
    ],
)
def test_an_array_may_take_20_gb_and_half_of_the_free_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_bytes: int, free: float, is_affordable: bool
) -> None:
    free_disk(monkeypatch, free)
    assert is_map_affordable(tmp_path / "cache" / "a.npy", num_bytes=num_bytes) == is_affordable


def test_an_array_that_is_there_is_used_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_disk(monkeypatch, 0)
    (tmp_path / "a.npy").touch()
    assert is_map_affordable(tmp_path / "a.npy", num_bytes=100 * GB)


def test_what_is_too_large_anywhere_touches_no_disk(tmp_path: Path) -> None:
    assert not is_map_affordable(tmp_path / "cache" / "a.npy", num_bytes=100 * GB)
    assert list(tmp_path.iterdir()) == []


def test_a_process_waits_for_the_one_that_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the builder has taken the room by now: without waiting, this process would decode beside ranks that map
    free_disk(monkeypatch, 0)
    path = tmp_path / "a.npy"
    answers: list[bool] = []
    asks = threading.Thread(target=lambda: answers.append(is_map_affordable(path, num_bytes=1)))
    with (tmp_path / ".a.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asks.start()
        asks.join(0.3)
        assert answers == []
        path.touch()
    asks.join(20)
    assert answers == [True]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "cache" / "a.npy"
    with pytest.raises(StoreError, match=rf"^{path} cannot be written \(.*\): free space or mend its folder$"):
        is_map_affordable(path, num_bytes=1)


def test_a_store_asks_for_the_array_it_would_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FrameStore(tmp_path / "store", recipe={"codec": "jpeg", "jpeg_quality": 95}, recipe_hash="abc")
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    sampled = SampledFrames(frames=frames, frame_indices=(0, 1, 2), pts_seconds=(0.0, 1.0, 2.0), decoder="pyav")
    store.write_part("0", [FrameRow(video_id=name, fingerprint=name, sampled=sampled) for name in "ab"])
    cache = tmp_path / "cache"
    for free, is_affordable in ((4 * frames.nbytes, True), (4 * frames.nbytes - 1, False)):
        free_disk(monkeypatch, free)
        assert store.can_afford_map(["a", "b"], cache) == is_affordable
    store.memory_map(["b", "a"], cache)
    assert not store.can_afford_map(["a", "b"], cache)
    store.memory_map(["a", "b"], cache)
    assert store.can_afford_map(["a", "b"], cache)
    assert frame_map._MOST_BYTES == 20 * GB  # as docs/settings.md says

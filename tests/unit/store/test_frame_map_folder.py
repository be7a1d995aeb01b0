"""Memory maps of frames lie on a disk of the machine itself, whatever the workspace lies on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from conical.config import load_experiment
from conical.core.errors import ConfigError, StoreError
from conical.store.frames import place
from conical.store.frames.map import open_frame_map
from conical.store.frames.place import frame_map_folder, shared_file_system

MOUNTS = """overlay / overlay rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/all /shared nfs4 rw 0 0
server:/odd /shared/with\\040space/ü fuse.sshfs rw 0 0
/dev/sdb1 /shared/scratch ext4 rw 0 0
files /home fuse.fuse-overlayfs rw 0 0
bucket /bucket fuse.s3fs rw 0 0
fs-1 /lustre lustre rw 0 0
host /mnt 9p rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    (tmp_path / "mounts").write_text(MOUNTS, encoding="utf-8")
    return tmp_path / "mounts"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/workspace", ""),
        ("/tmp/x", ""),
        ("/shared/workspace/cache", "nfs4"),
        ("/sharedness", ""),
        ("/shared/with space/ü/x", "fuse.sshfs"),
        ("/shared/scratch/x", ""),
        ("/home/me", ""),
        ("/bucket", "fuse.s3fs"),
        ("/lustre/me", "lustre"),
        ("/mnt/c", "9p"),
    ],
)
def test_what_other_machines_serve_is_told_from_a_disk(mounts: Path, path: str, kind: str) -> None:
    assert shared_file_system(Path(path), mounts) == kind


def test_without_a_mount_table_nothing_is_called_shared(tmp_path: Path) -> None:
    assert shared_file_system(Path("/shared"), tmp_path / "absent") == ""


def test_the_default_is_the_workspaces_cache_unless_that_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {Path("/shared/cache"): "nfs4"}
    monkeypatch.setattr(place, "shared_file_system", lambda path: kinds.get(path, ""))
    assert frame_map_folder("", cache=Path("/data/cache")) == Path("/data/cache")
    assert frame_map_folder("", cache=Path("/shared/cache")) == (
        Path(tempfile.gettempdir()) / f"conical-{os.getuid()}" / "frame-maps"
    )
    assert frame_map_folder("/scratch", cache=Path("/shared/cache")) == Path("/scratch")


def test_a_shared_folder_that_is_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "shared_file_system", lambda path: "nfs4")
    with pytest.raises(StoreError, match=r"^ray.frame_map_folder=/shared/x lies on nfs4, .* a local disk"):
        frame_map_folder("/shared/x", cache=Path("/data"))


def test_a_relative_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="frame_map_folder must be an absolute path, got 'maps'"):
        load_experiment(None, ["ray.frame_map_folder=maps"])


def test_a_disk_without_room_is_an_error_before_a_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left on device"):
        open_frame_map(tmp_path / "a.npy", num_videos=1, videos=lambda: iter([np.zeros((1, 2, 2, 3), np.uint8)]))
    assert not (tmp_path / "a.npy").exists()

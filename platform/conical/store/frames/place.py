"""Where the memory maps of frames lie: on a disk of the machine itself, since every batch reads them at random."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from conical.core.errors import StoreError

# file systems that other machines serve, by the names of Linux's mount table
_SHARED = ("nfs", "cifs", "smb", "lustre", "ceph", "gpfs", "beegfs", "afs", "glusterfs", "9p", "fuse.")
_LOCAL_FUSE = ("fuse.fuse-overlayfs", "fuse.ext", "fuse.ntfs")


def frame_map_folder(asked: str, *, cache: Path) -> Path:
    """The folder for the memory maps of this machine; not made yet.

    Args:
        asked: `ray.frame_map_folder`; "": `cache` where it is on a disk of this machine, else a folder of this user
            below the temporary folder.
        cache: of the workspace, which may lie on a file system that all machines share.

    Raises:
        StoreError: the folder that was asked for is shared between machines.
    """
    if asked:
        chosen = Path(asked)
        if kind := shared_file_system(chosen):
            raise StoreError(
                f"ray.frame_map_folder={asked} lies on {kind}, which is shared between machines: every batch reads the "
                "maps at random, so name a folder of a local disk that each machine has"
            )
        return chosen
    if not shared_file_system(cache):
        return cache
    return Path(tempfile.gettempdir()) / f"conical-{os.getuid()}" / "frame-maps"


def shared_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Kind of the shared file system that a path lies on; "" for a disk of this machine, or where it cannot be told."""
    if not mounts.is_file():
        return ""
    wanted = Path(os.path.realpath(path))
    found = ""
    longest = -1
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, mount, kind, *_ = line.split(" ")
        # spaces and the like are written in octal
        place = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount))
        if wanted.is_relative_to(place) and len(place.parts) >= longest:
            found, longest = kind, len(place.parts)
    is_shared = found.startswith(_SHARED) and not found.startswith(_LOCAL_FUSE)
    return found if is_shared else ""

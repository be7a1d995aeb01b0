"""One array file that all processes of a machine map into memory, so that its pages exist once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.atomic import atomic_path
from conical.core.errors import StoreError
from conical.store.frames.schema import require_one_shape

# to write more takes minutes before the first step, on a disk that other work shares
_MOST_BYTES = 20 * 10**9
_MOST_OF_FREE_DISK = 0.5


def is_map_affordable(path: Path, *, num_bytes: int) -> bool:
    """Whether an array file is there, or is small enough to be made: at most 20 GB and half of the free disk.

    Waits while another process builds it, and so gives all processes of a machine one answer.

    Args:
        path: the file.
        num_bytes: what it takes.

    Raises:
        StoreError: the file's folder cannot be written.
    """
    if path.is_file() or num_bytes > _MOST_BYTES:
        return path.is_file()
    with _only_builder(path):
        return path.is_file() or num_bytes <= _MOST_OF_FREE_DISK * shutil.disk_usage(path.parent).free


def open_frame_map(
    path: Path, *, num_videos: int, videos: Callable[[], Iterator[NDArray[np.uint8]]]
) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Map the array file, after building it if it is absent.

    Args:
        path: the file, named by its content.
        num_videos: length of the array, >= 1.
        videos: gives the frames of each video, (frame, height, width, 3), one after the other; called only to build.

    Returns:
        Read-only uint8, (video, frame, height, width, 3).

    Raises:
        StoreError: there is no video, sizes differ, or the file cannot be written.
    """
    if num_videos < 1:
        raise StoreError("a frame map needs at least one video, got none")
    if not path.is_file():
        with _only_builder(path):
            # another process may have built it while this one waited
            if not path.is_file():
                _build(path, num_videos, videos())
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(array, np.memmap)
    assert len(array) == num_videos
    return array


@contextmanager
def _only_builder(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends.

    Raises:
        StoreError: the lock, or what is written under it, finds no room or no permission.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.stem}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}): free space or mend its folder") from error


def _build(path: Path, num_videos: int, videos: Iterator[NDArray[np.uint8]]) -> None:
    first = next(videos)
    with atomic_path(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(num_videos, *first.shape))
        # a sparse file on a full disk would end the process without an exception, at the first page that finds no room
        if hasattr(os, "posix_fallocate"):
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        array[0] = first
        for index, frames in enumerate(videos, start=1):
            require_one_shape(first.shape, frames.shape)
            array[index] = frames
        array.flush()

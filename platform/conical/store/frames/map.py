"""One array file that all processes of a machine map into memory, so that its pages exist once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.atomic import atomic_path
from conical.core.errors import StoreError


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
        try:
            with _only_builder(path):
                # another process may have built it while this one waited
                if not path.is_file():
                    _build(path, num_videos, videos())
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror}): free space or mend its folder") from error
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(array, np.memmap)
    assert len(array) == num_videos
    return array


@contextmanager
def _only_builder(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
            if frames.shape != first.shape:
                raise StoreError(
                    f"videos of one frame store must have one shape, got {first.shape} and {frames.shape}: "
                    "delete the store and run ingest again"
                )
            array[index] = frames
        array.flush()

"""Frames that are read from the Parquet parts and decoded when they are asked for, for data too large for a map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import StoreError
from conical.store.frames.schema import PIXEL_COLUMNS, decode_payload, require_one_shape
from conical.store.parts import read_table

# each may hold a file, a stored clip and a frame; several ranks may share a machine
_MOST_THREADS = 16


class DecodedFrames:
    """Frames of many videos, indexed like the array `FrameStore.memory_map` gives and equal to it in every bit.

    Nothing is kept: each access opens the parts of the clips it names, reads their row groups, decodes the frames it
    names and closes the parts, in threads that all such arrays of a process share (as many as cores, at most 16).
    Pillow decodes without Python's lock, so the threads run side by side. Beside the answer, each thread holds one open
    file, the stored bytes of one clip and one frame. Threads may share an instance; it pickles as the places of its
    clips.

    Args:
        places: part and row group of each video, in the order of the array; at least one.
        codec: what the frames are stored as, `raw` or `jpeg`.

    Raises:
        StoreError: there is no video, or the first one cannot be read.
    """

    def __init__(self, places: Sequence[tuple[Path, int]], *, codec: str) -> None:
        if not places:
            raise StoreError("decoded frames need at least one video, got none")
        numbers = {part: number for number, part in enumerate(dict.fromkeys(part for part, _ in places))}
        # two numbers a video: 100,000 of them take 1.2 MB, here and in a pickle
        self._parts = tuple(numbers)
        self._part = np.array([numbers[part] for part, _ in places], dtype=np.int32)
        self._row = np.array([row for _, row in places], dtype=np.int64)
        self._codec = codec
        first, row = places[0]
        facts = read_table(first, columns=("height", "width", "frame_indices"), row_group=row).to_pylist()[0]
        self.shape = (len(places), len(facts["frame_indices"]), facts["height"], facts["width"], 3)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames as uint8."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Frames as NumPy would give them for an index of the first axis (videos), or of the first two (and frames).

        Args:
            index: numbers, slices, arrays of integers or booleans, or a pair of them, such as
                `frames[videos[:, None], positions]` with (row,) videos and (row, frame) positions.

        Returns:
            uint8, (..., height, width, 3), in new memory.

        Raises:
            IndexError: a number is out of range, or an index of height, width or channel is given.
            StoreError: a part is damaged or gone, or a clip has another shape than the first.
        """
        if any(isinstance(part, EllipsisType) for part in (index if isinstance(index, tuple) else (index,))):
            raise IndexError(
                "decoded frames are indexed by video and frame, got an ellipsis: take the pixels of what comes back"
            )
        # NumPy picks from (video, frame) tables of numbers, which take no memory, what it would pick from the frames
        videos, positions = (
            np.asarray(np.broadcast_to(numbers, self.shape[:2])[index])
            for numbers in (np.arange(self.shape[0])[:, None], np.arange(self.shape[1]))
        )
        frames = np.empty((*videos.shape, *self.shape[2:]), np.uint8)
        if frames.size:
            self._fill(frames.reshape(-1, *self.shape[2:]), videos.ravel(), positions.ravel())
        return frames

    def __repr__(self) -> str:
        return f"DecodedFrames(shape={self.shape}, codec={self._codec!r}, parts={len(self._parts)})"

    def _fill(self, frames: NDArray[np.uint8], videos: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        """Set `frames[i]` to frame `positions[i]` of video `videos[i]`; a clip is read once, whoever asks for it."""
        order = np.argsort(videos, kind="stable")
        distinct, starts = np.unique(videos[order], return_index=True)
        work = partial(self._fill_from_clip, frames, positions)
        # ends at the first clip that fails, and calls off those that wait
        for _ in _threads(os.getpid()).map(work, distinct.tolist(), np.split(order, starts[1:])):
            pass

    def _fill_from_clip(
        self, frames: NDArray[np.uint8], positions: NDArray[np.int64], video: int, places: NDArray[np.int64]
    ) -> None:
        part = self._parts[self._part[video]]
        table = read_table(part, columns=PIXEL_COLUMNS, row_group=int(self._row[video]))
        height, width = table["height"][0].as_py(), table["width"][0].as_py()
        payloads = table["frames"][0].values
        require_one_shape(self.shape[1:], (len(payloads), height, width, 3))
        wanted = positions[places]
        for position in np.unique(wanted).tolist():
            payload = payloads[position].as_buffer()
            frames[places[wanted == position]] = decode_payload(
                payload, codec=self._codec, height=height, width=width, part=part
            )


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """The threads of a process, made when first asked for; a forked process has none of its parent's."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS), thread_name_prefix=f"decode-{process}")

"""Arrays of features on the local disk, made once, in shards, by as many processes as there are.

A shard is a file of some rows, whole or absent. Who finds one absent takes its lock and makes it; others make other
shards meanwhile and wait for the last ones. A killed process leaves whole shards and no lock.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.atomic import atomic_path
from conical.core.errors import StoreError

ROWS_PER_SHARD = 512


class ShardedArray:
    """Rows in files of `ROWS_PER_SHARD`, mapped into memory; read-only, indexed by its first two dimensions.

    Args:
        shards: in order; all but the last hold `ROWS_PER_SHARD` rows.
    """

    def __init__(self, shards: list[NDArray[Any]]) -> None:
        self._shards = shards
        self.shape: tuple[int, ...] = (sum(map(len, shards)), *shards[0].shape[1:])
        self.dtype = shards[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """`a[rows]` or `a[rows, columns]` as of a whole array."""
        rows, *columns = index if isinstance(index, tuple) else (index,)
        wanted = np.arange(len(self))[rows]
        if columns:
            wanted, *columns = np.broadcast_arrays(wanted, *columns)
        found = np.empty((*wanted.shape, *self.shape[1 + len(columns) :]), self.dtype)
        for number in np.unique(wanted // ROWS_PER_SHARD):
            own = wanted // ROWS_PER_SHARD == number
            places = (wanted[own] % ROWS_PER_SHARD, *(column[own] for column in columns))
            found[own] = self._shards[int(number)][places]
        return found

    def __repr__(self) -> str:
        return f"ShardedArray(shape={self.shape})"


class PaddedArray:
    """Rows of unequal length in files of `ROWS_PER_SHARD`, each filled up to the longest of its file.

    Args:
        shards: (row, length, ...) in order; all but the last hold `ROWS_PER_SHARD` rows.
    """

    def __init__(self, shards: list[NDArray[Any]]) -> None:
        self._shards = shards

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """(row, longest, ...): some rows, filled up with zeros to the longest of their files."""
        shards = [self._shards[int(row) // ROWS_PER_SHARD] for row in rows]
        found = np.zeros((len(rows), max(shard.shape[1] for shard in shards), *shards[0].shape[2:]), shards[0].dtype)
        for place, (row, shard) in enumerate(zip(rows, shards, strict=True)):
            found[place, : shard.shape[1]] = shard[int(row) % ROWS_PER_SHARD]
        return found


def open_shards(
    folder: Path, *, num_rows: int, make: Callable[[slice], NDArray[Any]], share: int = 0, num_shares: int = 1
) -> list[NDArray[Any]]:
    """The shards of an array, after those that are absent were made.

    Args:
        folder: of this array alone, named by its content.
        num_rows: >= 1.
        make: gives some rows.
        share: number of this process among `num_shares` that make the array together: where it begins.

    Raises:
        StoreError: a shard cannot be written.
    """
    bounds = [slice(first, min(first + ROWS_PER_SHARD, num_rows)) for first in range(0, num_rows, ROWS_PER_SHARD)]
    paths = [folder / f"{number:05d}.npy" for number in range(len(bounds))]
    begin = share * len(paths) // num_shares
    order = [*range(begin, len(paths)), *range(begin)]
    # first what nobody is making, then what remains
    for is_patient in (False, True):
        for number in order:
            if not paths[number].is_file():
                _make(paths[number], partial(make, bounds[number]), is_patient=is_patient)
    return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]


def _make(path: Path, make: Callable[[], NDArray[Any]], *, is_patient: bool) -> None:
    try:
        with _lock(path, is_patient=is_patient) as is_ours:
            # another process may have made it while this one waited
            if is_ours and not path.is_file():
                rows = make()
                with atomic_path(path) as temporary:
                    np.save(temporary, rows, allow_pickle=False)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}): free space or mend its folder") from error


@contextmanager
def _lock(path: Path, *, is_patient: bool) -> Iterator[bool]:
    """A lock that ends with the process, however it ends; gives whether it was had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.stem}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True

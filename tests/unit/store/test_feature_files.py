"""Arrays in shards: as one array, whoever makes them, whenever they are killed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.core.errors import StoreError
from conical.store import feature_files
from conical.store.feature_files import PaddedArray, ShardedArray, open_shards

WHOLE = np.random.default_rng(0).normal(size=(1300, 3, 4)).astype(np.float32)


def shards(array: np.ndarray) -> list[np.ndarray]:
    size = feature_files.ROWS_PER_SHARD
    return [array[first : first + size] for first in range(0, len(array), size)]


def test_a_sharded_array_is_indexed_like_a_whole_one() -> None:
    sharded = ShardedArray(shards(WHOLE))
    assert (sharded.shape, len(sharded), sharded.dtype) == (WHOLE.shape, 1300, WHOLE.dtype)
    for index in (0, 1299, -1, slice(500, 530), slice(None, None, 7), np.array([1299, 3, 511, 512, 3])):
        np.testing.assert_array_equal(sharded[index], WHOLE[index])
    rows, columns = np.array([[3], [700], [1299]]), np.array([[0, 2], [1, 1], [2, 0]])
    np.testing.assert_array_equal(sharded[rows, columns], WHOLE[rows, columns])
    np.testing.assert_array_equal(sharded[700, np.array([2, 0])], WHOLE[700, np.array([2, 0])])


@given(st.lists(st.integers(0, 1299), max_size=20))
def test_any_rows_of_a_sharded_array(rows: list[int]) -> None:
    wanted = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(ShardedArray(shards(WHOLE))[wanted], WHOLE[wanted])


def test_rows_of_unequal_length_are_filled_up_with_zeros() -> None:
    padded = PaddedArray([np.ones((512, 2, 3), np.float32), 2 * np.ones((10, 5, 3), np.float32)])
    assert padded[np.array([0, 511])].shape == (2, 2, 3)
    found = padded[np.array([515, 1])]
    assert found.shape == (2, 5, 3)
    assert (found[0] == 2).all()
    assert (found[1, :2] == 1).all()
    assert (found[1, 2:] == 0).all()


def test_each_shard_is_made_once(tmp_path: Path) -> None:
    asked: list[slice] = []

    def make(rows: slice) -> np.ndarray:
        asked.append(rows)
        return WHOLE[rows]

    found = ShardedArray(open_shards(tmp_path, num_rows=1300, make=make, share=1, num_shares=2))
    np.testing.assert_array_equal(found[:], WHOLE)
    # the second of two processes begins in the middle
    assert [rows.start for rows in asked] == [512, 1024, 0]
    open_shards(tmp_path, num_rows=1300, make=make)
    assert len(asked) == 3
    (tmp_path / "00001.npy").unlink()
    open_shards(tmp_path, num_rows=1300, make=make)
    assert [rows.start for rows in asked] == [512, 1024, 0, 512]


def test_a_failure_leaves_whole_shards_and_no_lock(tmp_path: Path) -> None:
    def make(rows: slice) -> np.ndarray:
        if rows.start == 512:
            raise RuntimeError("no more")
        return WHOLE[rows]

    with pytest.raises(RuntimeError):
        open_shards(tmp_path, num_rows=1300, make=make)
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["00000.npy"]
    np.testing.assert_array_equal(
        ShardedArray(open_shards(tmp_path, num_rows=1300, make=lambda rows: WHOLE[rows]))[:], WHOLE
    )


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"00000.npy cannot be written \(.*\): free space or mend its folder"):
        open_shards(tmp_path / "file" / "inner", num_rows=3, make=lambda rows: WHOLE[rows])


_WORKER = """
    import os, signal, sys, time
    from pathlib import Path
    import numpy as np
    from conical.store.feature_files import ShardedArray, open_shards

    folder, share, dies = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "dies"

    def make(rows):
        with (folder / f"made-{os.getpid()}-{rows.start}").open("w"):
            pass
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        return np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]

    found = ShardedArray(open_shards(folder / "array", num_rows=2500, make=make, share=share, num_shares=3))
    assert (found[:][:, 0] == np.arange(2500)).all()
"""


def test_processes_share_the_work_and_outlive_one_that_is_killed(tmp_path: Path) -> None:
    def start(share: int, fate: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", textwrap.dedent(_WORKER), str(tmp_path), str(share), fate])

    dying = start(0, "dies")
    assert dying.wait(timeout=60) == -9
    processes = [start(share, "lives") for share in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    made = [path.name.rpartition("-")[2] for path in tmp_path.glob("made-*") if f"-{dying.pid}-" not in path.name]
    # five shards, none twice
    assert sorted(map(int, made)) == [0, 512, 1024, 1536, 2048]

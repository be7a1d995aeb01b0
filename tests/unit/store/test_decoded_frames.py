"""Frames decoded when they are asked for are those of the memory map, with few open files and little memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import conical
from conical.core.errors import StoreError
from conical.core.records import SampledFrames
from conical.store import FrameRow, FrameStore
from conical.store.frames import decoded
from conical.store.frames.decoded import DecodedFrames

CODECS = ("raw", "jpeg")
NUM_VIDEOS, NUM_FRAMES, SIDE = 11, 5, 24


def fill(
    path: Path, codec: str, *, num: int, per_part: int, frames: int = NUM_FRAMES, side: int = SIDE, only: int = 0
) -> FrameStore:
    """A store of noise on coarse blocks, which JPEG changes; `only` distinct clips where it is above 0."""
    store = FrameStore(path, recipe={"codec": codec, "jpeg_quality": 90}, recipe_hash="abc")
    for first in range(0, num, per_part):
        rows = []
        for number in range(first, min(first + per_part, num)):
            rng = np.random.default_rng(number % only if only else number)
            coarse = rng.integers(0, 256, (frames, side // 4, side // 4, 3), np.uint8)
            sampled = SampledFrames(
                frames=coarse.repeat(4, axis=1).repeat(4, axis=2),
                frame_indices=tuple(range(frames)),
                pts_seconds=tuple(map(float, range(frames))),
                decoder="pyav",
            )
            rows.append(FrameRow(video_id=name(number), fingerprint=str(number), sampled=sampled))
        store.write_part(f"{first:04d}", rows)
    return store


def name(number: int) -> str:
    return f"v{number:04d}"


@dataclass(frozen=True)
class Pair:
    """The same frames both ways."""

    decoded: DecodedFrames
    mapped: np.ndarray


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Videos in an order that is not that of the parts."""
    ids = [name(number) for number in np.random.default_rng(5).permutation(NUM_VIDEOS)]
    found = {}
    for codec in CODECS:
        folder = tmp_path_factory.mktemp(codec)
        store = fill(folder / "store", codec, num=NUM_VIDEOS, per_part=3)
        found[codec] = Pair(decoded=store.decoded(ids), mapped=store.memory_map(ids, folder / "cache"))
    return found


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected, strict=True)


# ---- equal to the map


def test_jpeg_did_change_the_pixels(pairs: dict[str, Pair]) -> None:
    assert (pairs["jpeg"].mapped != pairs["raw"].mapped).any()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(4),
        slice(None),
        slice(2, 7, 2),
        slice(None, None, -3),
        slice(4, 4),
        np.array([3, 3, 0, -2]),
        [5, 1],
        np.array([[1, 2], [2, 1]]),
        np.zeros(0, np.int64),
        np.arange(NUM_VIDEOS) % 2 == 0,
        (2, 3),
        (2, -1),
        (slice(1, 4), 2),
        (slice(1, 4), slice(0, 5, 2)),
        (slice(None), np.array([0, 4])),
        (np.array([0, 5, 5]), np.array([1, 0, 1])),
        (np.array([6, 0, 6])[:, None], np.array([[0, 2], [1, 1], [4, 2]])),
        (np.array([6, 0])[..., None], np.array([0, 4])),
    ],
    ids=str,
)
def test_each_form_of_index_gives_the_frames_of_the_map(pairs: dict[str, Pair], codec: str, index: Any) -> None:
    assert_equal(pairs[codec].decoded[index], pairs[codec].mapped[index])


@st.composite
def rows_and_positions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """As a batch asks: videos with repeats, and its own positions of each row."""
    num_rows, num_positions = draw(st.integers(0, 6)), draw(st.integers(1, NUM_FRAMES))
    videos = draw(hnp.arrays(np.int64, num_rows, elements=st.integers(0, NUM_VIDEOS - 1)))
    shape = (num_rows, num_positions)
    return videos[:, None], draw(hnp.arrays(np.int64, shape, elements=st.integers(0, NUM_FRAMES - 1)))


INDICES = st.one_of(
    hnp.basic_indices((NUM_VIDEOS, NUM_FRAMES), allow_ellipsis=False, allow_newaxis=True, max_dims=4),
    hnp.integer_array_indices((NUM_VIDEOS, NUM_FRAMES), result_shape=hnp.array_shapes(max_dims=3, max_side=4)),
    rows_and_positions(),
)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=60)
@given(index=INDICES)
def test_any_index_of_videos_and_frames_gives_the_frames_of_the_map(
    pairs: dict[str, Pair], codec: str, index: Any
) -> None:
    assert_equal(pairs[codec].decoded[index], pairs[codec].mapped[index])


@pytest.mark.parametrize("codec", CODECS)
def test_shape_and_size_are_those_of_the_map(pairs: dict[str, Pair], codec: str) -> None:
    pair = pairs[codec]
    assert pair.decoded.shape == pair.mapped.shape == (NUM_VIDEOS, NUM_FRAMES, SIDE, SIDE, 3)
    assert len(pair.decoded) == NUM_VIDEOS
    assert pair.decoded.nbytes == pair.mapped.nbytes
    assert repr(pair.decoded) == f"DecodedFrames(shape=(11, 5, 24, 24, 3), codec={codec!r}, parts=4)"


def test_what_comes_back_is_the_callers_own(pairs: dict[str, Pair]) -> None:
    for pair in pairs.values():
        first = pair.decoded[:2]
        first[:] = 0
        assert_equal(pair.decoded[:2], pair.mapped[:2])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (NUM_VIDEOS, "index 11 is out of bounds"),
        (np.array([0, -NUM_VIDEOS - 1]), "index -12 is out of bounds"),
        ((0, NUM_FRAMES), "index 5 is out of bounds"),
        ((0, 0, 0), "too many indices"),
        (..., "decoded frames are indexed by video and frame, got an ellipsis: take the pixels of what comes back"),
        ((0, ...), "got an ellipsis"),
        (1.5, "only integers"),
    ],
)
def test_other_indices_are_refused(pairs: dict[str, Pair], index: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        pairs["raw"].decoded[index]


# ---- what is read, and with how many files


def test_only_the_clips_asked_for_are_read_and_only_the_frames_asked_for_are_decoded(
    pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []
    num_decoded: list[int] = []

    def read_table(path: Path, **which: Any) -> pa.Table:
        read.append((path.name, which["row_group"]))
        return kept[0](path, **which)

    def decode_payload(payload: pa.Buffer, **facts: Any) -> np.ndarray:
        num_decoded.append(1)
        return kept[1](payload, **facts)

    kept = decoded.read_table, decoded.decode_payload
    monkeypatch.setattr(decoded, "read_table", read_table)
    monkeypatch.setattr(decoded, "decode_payload", decode_payload)
    frames = pairs["jpeg"].decoded
    frames[np.array([7, 2, 7])[:, None], np.array([[0, 3], [1, 1], [3, 4]])]
    assert len(read) == len(set(read)) == 2  # two clips, one of them in two rows
    assert len(num_decoded) == 3 + 1  # frames 0, 3 and 4 of one, 1 of the other
    read.clear()
    assert frames[3:3].shape == (0, NUM_FRAMES, SIDE, SIDE, 3)
    assert read == []


@pytest.mark.parametrize("codec", CODECS)
def test_many_parts_are_read_with_few_open_files(tmp_path: Path, codec: str) -> None:
    ids = [name(number) for number in range(200)]
    store = fill(tmp_path / "store", codec, num=len(ids), per_part=1, frames=2, side=8, only=4)
    frames = store.decoded(ids)
    frames[:1]  # the threads are there
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
        assert frames[:].shape == (200, 2, 8, 8, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    open_now = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [path for path in open_now if path.name.startswith("part-")] == []


@pytest.mark.parametrize("codec", CODECS)
def test_reading_hundreds_of_clips_keeps_none_of_them(tmp_path: Path, codec: str) -> None:
    num, frames, side, at_once = 300, 4, 128, 6
    fill(tmp_path / "store", codec, num=num, per_part=16, frames=frames, side=side, only=5)
    clip = frames * side * side * 3
    program = f"""
import sys
import numpy as np, psutil, pyarrow
from conical.store import FrameStore
store = FrameStore.open(sys.argv[1])
frames = store.decoded(sorted(store.video_ids()))
memory = psutil.Process().memory_info
order = np.random.default_rng(0).permutation({num})
batches = [order[first : first + {at_once}] for first in range(0, {num}, {at_once})]
for batch in batches[:5]:
    frames[batch]
before = memory().rss
for batch in batches[5:]:
    frames[batch]
print(memory().rss - before, pyarrow.total_allocated_bytes())
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(conical.__file__).parents[1])}
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    grown, kept_by_arrow = map(int, done.stdout.split())
    # 270 clips of 0.2 MB went by: 53 MB
    assert grown < 10 * clip * at_once
    assert kept_by_arrow == 0


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_takes_its_own_bytes_and_little_beside_them(tmp_path: Path, codec: str) -> None:
    num, frames, side = 40, 4, 64
    store = fill(tmp_path / "store", codec, num=num, per_part=8, frames=frames, side=side, only=3)
    ids = [name(number) for number in range(num)]
    held = store.decoded(ids)
    held[:4]
    most_arrow = [0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            most_arrow[0] = max(most_arrow[0], pa.total_allocated_bytes())
            time.sleep(0.0002)

    watcher = threading.Thread(target=watch)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    watcher.start()
    try:
        batch = held[:]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        is_over.set()
        watcher.join()
        tracemalloc.stop()
    clip, threads = batch.nbytes // num, min(os.cpu_count() or 1, 16)
    assert batch.nbytes <= peak < batch.nbytes + (threads + 2) * clip + 500_000
    # a clip's stored bytes, twice while Arrow puts them together
    assert most_arrow[0] - before <= 2 * (threads + 1) * clip + 500_000


def test_a_hundred_thousand_clips_are_two_numbers_each(tmp_path: Path) -> None:
    fill(tmp_path, "raw", num=2, per_part=2)
    (part,) = tmp_path.glob("part-*")
    tracemalloc.start()
    frames = DecodedFrames([(part, number % 2) for number in range(100_000)], codec="raw")
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(frames) == 100_000
    assert kept < 3e6
    assert len(pickle.dumps(frames)) < 2e6
    assert frames[99_999].shape == (NUM_FRAMES, SIDE, SIDE, 3)


# ---- several threads and processes


@pytest.mark.parametrize("codec", CODECS)
def test_threads_share_an_instance(pairs: dict[str, Pair], codec: str) -> None:
    pair = pairs[codec]

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            videos = rng.integers(0, NUM_VIDEOS, 4)[:, None]
            positions = rng.integers(0, NUM_FRAMES, (4, 2))
            assert_equal(pair.decoded[videos, positions], pair.mapped[videos, positions])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(16)))


def test_clips_are_decoded_side_by_side(pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=20)  # breaks unless three clips are under way at once

    def read_table(path: Path, **which: Any) -> pa.Table:
        together.wait()
        return kept(path, **which)

    kept = decoded.read_table
    monkeypatch.setattr(decoded.os, "cpu_count", lambda: 3)
    monkeypatch.setattr(decoded, "_threads", decoded._threads.__wrapped__)
    monkeypatch.setattr(decoded, "read_table", read_table)
    assert_equal(pairs["raw"].decoded[:9], pairs["raw"].mapped[:9])


def test_a_copy_through_pickle_reads_the_same(pairs: dict[str, Pair]) -> None:
    for pair in pairs.values():
        copy = pickle.loads(pickle.dumps(pair.decoded))
        assert repr(copy) == repr(pair.decoded)
        assert_equal(copy[:], pair.mapped[:])


def test_another_process_reads_a_pickle(pairs: dict[str, Pair], tmp_path: Path) -> None:
    (tmp_path / "frames.pickle").write_bytes(pickle.dumps(pairs["jpeg"].decoded))
    program = "import pickle, sys; print(int(pickle.load(open(sys.argv[1], 'rb'))[:].sum()))"
    environment = {**os.environ, "PYTHONPATH": str(Path(conical.__file__).parents[1])}
    command = [sys.executable, "-c", program, str(tmp_path / "frames.pickle")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert int(done.stdout) == pairs["jpeg"].mapped.sum()


def _sum_into(answers: Any, frames: DecodedFrames) -> None:
    answers.put(int(frames[:].sum()))


def test_a_forked_process_makes_its_own_threads(pairs: dict[str, Pair]) -> None:
    frames = pairs["jpeg"].decoded
    total = int(frames[:].sum())  # the threads of this process are there
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_sum_into, args=(answers, frames))
    child.start()
    assert answers.get(timeout=60) == total
    child.join(60)
    assert child.exitcode == 0


# ---- what is wrong


def _parts(store: FrameStore) -> list[Path]:
    return sorted(store.path.glob("part-*"))


def _decoded(tmp_path: Path, codec: str, **changes: Any) -> tuple[DecodedFrames, FrameStore]:
    store = fill(tmp_path / "store", codec, num=6, per_part=2, **changes)
    return store.decoded([name(number) for number in range(6)]), store


def test_a_damaged_jpeg_is_one_line_that_names_its_part(tmp_path: Path) -> None:
    frames, store = _decoded(tmp_path, "jpeg")
    part = _parts(store)[1]
    content = part.read_bytes()
    start = content.index(b"\xff\xd8\xff")
    part.write_bytes(content[:start] + bytes(200) + content[start + 200 :])
    with pytest.raises(StoreError) as caught:
        frames[:]
    assert str(caught.value).startswith(f"{part} is damaged (a JPEG cannot be decoded (")
    assert str(caught.value).endswith("): delete this file and run ingest again")
    assert "\n" not in str(caught.value)
    # the other clips, and the other frames of this one, are as they were
    assert_equal(frames[[0, 1, 4, 5]][:, 0], store.decoded([name(n) for n in (0, 1, 4, 5)])[:, 0])
    assert frames[2, 1:].shape == (NUM_FRAMES - 1, SIDE, SIDE, 3)


@pytest.mark.parametrize("codec", CODECS)
def test_a_part_cut_short_is_one_line_that_names_it(tmp_path: Path, codec: str) -> None:
    frames, store = _decoded(tmp_path, codec)
    part = _parts(store)[2]
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(StoreError, match=rf"^{part} cannot be read .*: delete this file and run the step again$"):
        frames[np.arange(6)]
    assert len(frames[:4]) == 4


def test_a_part_that_was_removed_is_said_to_be_gone(tmp_path: Path) -> None:
    frames, store = _decoded(tmp_path, "raw")
    part = _parts(store)[0]
    part.unlink()
    with pytest.raises(StoreError, match=rf"^{part} is gone, removed since it was listed: run the step again$"):
        frames[1]


def test_clips_of_two_shapes_are_refused(tmp_path: Path) -> None:
    store = fill(tmp_path / "store", "raw", num=1, per_part=1)
    others = fill(tmp_path / "others", "raw", num=3, per_part=1, side=16)
    shutil.copy(_parts(others)[2], store.path)
    frames = store.decoded([name(0), name(2)])
    assert frames[0].shape == (NUM_FRAMES, SIDE, SIDE, 3)
    with pytest.raises(StoreError, match=r"must have one shape, got \(5, 24, 24, 3\) and \(5, 16, 16, 3\): delete"):
        frames[1]


def test_videos_without_frames_are_refused(tmp_path: Path) -> None:
    _, store = _decoded(tmp_path, "raw")
    with pytest.raises(StoreError, match="no frames of 2 videos, such as 'x': run ingest first"):
        store.decoded([name(0), "x", "y"])
    with pytest.raises(StoreError, match="decoded frames need at least one video, got none"):
        store.decoded([])

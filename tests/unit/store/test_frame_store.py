from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conical
from conical.core.errors import StoreError
from conical.core.records import Failure, SampledFrames
from conical.store import FrameRow, FrameStore

RECIPE = {"codec": "raw", "jpeg_quality": 95, "num_frames": 3}


def _store(path: Path, **recipe: Any) -> FrameStore:
    return FrameStore(path, recipe={**RECIPE, **recipe}, recipe_hash="abc")


def _row(video_id: str, *, size: int = 16, fingerprint: str = "f", frames: np.ndarray | None = None) -> FrameRow:
    if frames is None:
        rng = np.random.default_rng(sum(video_id.encode()))
        frames = rng.integers(0, 256, (3, size, size, 3), np.uint8)
    sampled = SampledFrames(
        frames=frames, frame_indices=(0, 4, 9), pts_seconds=(0.0, 0.16, 0.36), decoder="pyav", is_padded=False
    )
    return FrameRow(video_id=video_id, fingerprint=fingerprint, sampled=sampled)


def _failure(video_id: str, kind: str = "empty") -> Failure:
    return Failure(video_id=video_id, uri=f"{video_id}.mp4", stage="ingest", kind=kind, message=f"{video_id}: {kind}")


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    store = _store(tmp_path)
    rows = [_row("b"), _row("a")]
    store.write_part("0", rows)
    for row in rows:
        read = store.read(row.video_id)
        np.testing.assert_array_equal(read.frames, row.sampled.frames)
        assert read.frame_indices == (0, 4, 9)
        assert read.pts_seconds == (0.0, 0.16, 0.36)
        assert (read.decoder, read.is_padded) == ("pyav", False)
    assert store.video_ids() == {"a", "b"}


def test_jpeg_frames_come_back_nearly_as_they_were_and_take_less_room(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 128, dtype=np.uint8)[None, None, :, None], (3, 128, 128, 3))
    row = _row("a", frames=np.ascontiguousarray(ramp))
    for codec in ("raw", "jpeg"):
        store = _store(tmp_path / codec, codec=codec)
        store.write_part("0", [row])
        np.testing.assert_allclose(store.read("a").frames.astype(int), ramp, atol=3)
    sizes = {path.parent.name: path.stat().st_size for path in tmp_path.glob("*/part-*")}
    assert sizes["jpeg"] < sizes["raw"] / 5


def test_the_same_rows_written_twice_are_one_untouched_file(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_part("0", [_row("a"), _row("b")])
    (path,) = tmp_path.glob("part-*")
    os.utime(path, (1, 1))
    store.write_part("0", [_row("b"), _row("a")])
    assert list(tmp_path.glob("part-*")) == [path]
    assert path.stat().st_mtime == 1


def test_an_empty_part_is_not_written(tmp_path: Path) -> None:
    _store(tmp_path).write_part("0", [])
    assert list(tmp_path.iterdir()) == []


def test_the_content_hash_forgets_parts_and_order_and_nothing_else(tmp_path: Path) -> None:
    one, two = _store(tmp_path / "one"), _store(tmp_path / "two")
    one.write_part("0", [_row("a"), _row("b"), _row("c")])
    two.write_part("x", [_row("c"), _row("a")])
    assert one.content_hash() != two.content_hash()
    two.write_part("y", [_row("b")])
    assert one.content_hash() == two.content_hash()
    other = _store(tmp_path / "other")
    other.write_part("0", [_row("a"), _row("b"), _row("c", fingerprint="g")])
    assert one.content_hash() != other.content_hash()


def test_a_part_written_by_another_process_is_seen(tmp_path: Path) -> None:
    reader, writer = _store(tmp_path), _store(tmp_path)
    assert reader.done() == frozenset()
    writer.write_part("0", [_row("a")])
    assert reader.done() == {"a"}
    next(tmp_path.glob("part-*")).unlink()
    assert reader.done() == frozenset()


def test_equal_rows_in_two_parts_are_one_video(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_part("0", [_row("a")])
    once = store.content_hash()
    store.write_part("1", [_row("a"), _row("b")])
    assert store.video_ids() == {"a", "b"}
    store.write_part("2", [_row("b")])
    assert len(list(tmp_path.glob("part-*"))) == 3
    assert store.content_hash() != once


def test_different_frames_of_one_video_are_refused(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_part("0", [_row("a")])
    store.write_part("1", [_row("a", size=8)])
    with pytest.raises(
        StoreError, match=r"'a' has different frames in .*part-0-.* and part-1-.*: delete one of the two"
    ):
        store.video_ids()


def test_dropped_videos_are_gone_from_every_part_and_their_neighbours_stay(tmp_path: Path) -> None:
    store = _store(tmp_path)
    rows = {name: _row(name) for name in "abcd"}
    store.write_part("0", [rows["a"], rows["b"], rows["c"]])
    store.write_part("1", [rows["b"], rows["d"]])
    store.write_part("2", [rows["b"]])
    store.drop({"b", "unknown"})
    assert store.video_ids() == _store(tmp_path).video_ids() == {"a", "c", "d"}
    assert sorted(path.name.split("-")[1] for path in tmp_path.glob("part-*")) == ["0", "1"]
    for name in "acd":
        np.testing.assert_array_equal(store.read(name).frames, rows[name].sampled.frames)
    store.write_part("0", [rows["b"]])
    whole = _store(tmp_path / "whole")
    whole.write_part("0", list(rows.values()))
    assert store.content_hash() == whole.content_hash()


def test_a_drop_that_is_killed_between_two_files_leaves_a_valid_store_and_is_ended_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store(tmp_path)
    store.write_part("0", [_row("a"), _row("b")])
    whole = store.content_hash()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            store.drop({"b"})
    assert len(list(tmp_path.glob("part-*"))) == 2
    assert _store(tmp_path).content_hash() == whole
    store.drop({"b"})
    assert _store(tmp_path).video_ids() == {"a"}
    assert len(list(tmp_path.glob("part-*"))) == 1


def test_a_unit_of_work_knows_its_own_videos(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_part("00001-ab", [_row("a"), _row("b")])
    store.write_part("00001-ab", [_row("c")])
    store.write_part("00001-abc", [_row("d")])
    assert store.written_as("00001-ab") == {"a", "b", "c"}
    assert store.written_as("00002-ab") == frozenset()


def test_clips_that_were_too_short_are_known(tmp_path: Path) -> None:
    store = _store(tmp_path)
    short = _row("b")
    short = replace(short, sampled=replace(short.sampled, is_padded=True))
    store.write_part("0", [_row("a"), short])
    assert store.padded() == {"b"}


def test_frames_that_are_a_view_of_others_are_stored_as_they_look(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    store = _store(tmp_path)
    store.write_part("0", [_row("a", frames=frames[:, ::-1])])
    np.testing.assert_array_equal(store.read("a").frames, frames[:, ::-1])


def test_a_video_without_frames_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no frames of 'a': run ingest"):
        _store(tmp_path).read("a")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_part("0", [_row("a")])
    (path,) = tmp_path.glob("part-*")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        StoreError, match=r"part-0-.*parquet cannot be read .*: delete this file and run the step again"
    ):
        _store(tmp_path).video_ids()


def test_a_damaged_jpeg_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(tmp_path, codec="jpeg")
    monkeypatch.setattr("conical.store.frames.schema.encode_frame", lambda *_, **__: b"not a jpeg")
    store.write_part("0", [_row("a")])
    with pytest.raises(StoreError, match=r"part-0-.*parquet is damaged .a JPEG cannot be decoded"):
        store.read("a")


def test_a_half_written_part_is_ignored_and_swept_when_it_is_old(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_part("0", [_row("a")])
    old, young = tmp_path / ".part-1.dead.parquet", tmp_path / ".part-2.alive.parquet"
    for path in (old, young):
        path.write_bytes(b"PAR1")
    os.utime(old, (0, 0))
    assert store.video_ids() == {"a"}
    store.settle()
    assert not old.exists()
    assert young.exists()


def test_failures_of_a_unit_replace_its_earlier_ones(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_failures("0", [_failure("b"), _failure("a")], {"a": "1", "b": "2"})
    store.write_failures("1", [_failure("c")])
    assert [failure.video_id for failure in store.failures()] == ["a", "b", "c"]
    store.write_failures("0", [_failure("b", "corrupt")], {"b": "3"})
    assert store.failures() == [_failure("b", "corrupt"), _failure("c")]
    assert store.failed_fingerprints() == {"b": "3", "c": ""}
    assert store.done() == {"b", "c"}


def test_settled_failures_stand_in_one_file_and_later_ones_come_first(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write_failures("0", [_failure("a"), _failure("b")], {"a": "1"})
    store.settle()
    assert [path.name for path in tmp_path.glob("failures*")] == ["failures.parquet"]
    assert store.failures() == [_failure("a"), _failure("b")]
    store.write_failures("0", [_failure("a", "corrupt")], {"a": "2"})
    assert store.failures() == [_failure("a", "corrupt"), _failure("b")]
    store.write_part("0", [_row("a")])
    store.settle()
    assert store.failures() == [_failure("b")]
    store.write_part("1", [_row("b")])
    store.settle()
    assert store.failures() == []
    assert list(tmp_path.glob("failures*")) == []


def test_a_store_is_opened_by_its_card(tmp_path: Path) -> None:
    _store(tmp_path).write_part("0", [_row("a")])
    store = FrameStore.open(tmp_path)
    assert (store.recipe, store.recipe_hash) == (RECIPE, "abc")
    assert store.video_ids() == {"a"}


def test_an_absent_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no frame store at .*: run ingest first"):
        FrameStore.open(tmp_path)


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(StoreError, match=r"card.json cannot be read .*: delete the folder and run ingest again"):
        FrameStore.open(tmp_path)


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    _store(tmp_path).write_part("0", [_row("a")])
    with pytest.raises(StoreError, match="holds frames of recipe abc, not xyz: give each recipe its own folder"):
        FrameStore(tmp_path, recipe=RECIPE, recipe_hash="xyz")


def test_an_option_that_the_hash_does_not_hold_keeps_a_store_valid(tmp_path: Path) -> None:
    _store(tmp_path).write_part("0", [_row("a")])
    later = _store(tmp_path, sample_fps=1.0)
    assert later.video_ids() == {"a"}


def test_the_card_says_what_the_frames_are(tmp_path: Path) -> None:
    _store(tmp_path).write_failures("0", [])
    assert json.loads((tmp_path / "card.json").read_text()) == {"format": 1, "recipe": RECIPE, "recipe_hash": "abc"}


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_memory_map_holds_the_videos_in_the_order_asked_for(tmp_path: Path, codec: str) -> None:
    store = _store(tmp_path / "store", codec=codec)
    store.write_part("0", [_row("a"), _row("b")])
    store.write_part("1", [_row("c")])
    mapped = store.memory_map(["c", "a"], tmp_path / "cache")
    assert mapped.shape == (2, 3, 16, 16, 3)
    for row, video_id in zip(mapped, ("c", "a"), strict=True):
        np.testing.assert_array_equal(row, store.read(video_id).frames)
    assert not mapped.flags.writeable


def test_a_memory_map_is_built_once_and_shared(tmp_path: Path) -> None:
    store = _store(tmp_path / "store")
    store.write_part("0", [_row("a"), _row("b")])
    store.memory_map(["a", "b"], tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("*.npy")
    os.utime(path, (1, 1))
    again = store.memory_map(["a", "b"], tmp_path / "cache")
    assert isinstance(again, np.memmap)
    assert Path(str(again.filename)) == path
    assert path.stat().st_mtime == 1
    store.memory_map(["b", "a"], tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_processes_that_ask_at_once_get_the_same_map(tmp_path: Path) -> None:
    store = _store(tmp_path / "store")
    store.write_part("0", [_row("a"), _row("b")])
    program = (
        "import sys; from conical.store import FrameStore; "
        "print(FrameStore.open(sys.argv[1]).memory_map(['a', 'b'], sys.argv[2]).mean())"
    )
    command = [sys.executable, "-c", program, str(store.path), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(Path(conical.__file__).parent.parent)}
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {child.communicate(timeout=60)[0] for child in children}
    assert answers == {f"{store.memory_map(['a', 'b'], tmp_path / 'cache').mean()}\n"}
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_a_map_that_could_not_be_built_leaves_nothing_behind(tmp_path: Path) -> None:
    store = _store(tmp_path / "store")
    store.write_part("0", [_row("a"), _row("b", size=8)])
    with pytest.raises(StoreError, match=r"must have one shape, got \(3, 16, 16, 3\) and \(3, 8, 8, 3\)"):
        store.memory_map(["a", "b"], tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_a_map_of_unknown_videos_is_refused(tmp_path: Path) -> None:
    store = _store(tmp_path / "store")
    store.write_part("0", [_row("a")])
    with pytest.raises(StoreError, match="has no frames of 2 videos, such as 'x': run ingest first"):
        store.memory_map(["a", "x", "y"], tmp_path / "cache")


def test_a_map_of_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a frame map needs at least one video, got none"):
        _store(tmp_path / "store").memory_map([], tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    store = _store(tmp_path / "store")
    store.write_part("0", [_row("a")])
    (tmp_path / "cache").touch()
    with pytest.raises(StoreError, match=r"cache/frames-.*npy cannot be written .*: free space or mend its folder"):
        store.memory_map(["a"], tmp_path / "cache")

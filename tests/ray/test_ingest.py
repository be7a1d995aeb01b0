"""The ingest stage on Ray: every video accounted for, and a disturbed run equal to an undisturbed one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from clip_factory import named_indices, write_clip, write_sound

import conical
from conical.core.errors import DataError, StoreError
from conical.core.records import VideoRecord
from conical.on_ray.ingest import run_ingest
from conical.store import FrameStore
from conical.video import FrameRecipe

pytestmark = pytest.mark.ray

RECIPE = FrameRecipe(size=16, num_frames=4)
BROKEN = {
    "absent": "missing",
    "empty": "empty",
    "text": "not_a_video",
    "sound": "no_video_stream",
    "cut": "truncated",
    "late": "truncated",
}
NUM_GOOD = 10


@pytest.fixture(scope="module")
def running_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import ray

    paths = (Path(conical.__file__).parent.parent, Path(__file__).parent.parent)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(map(str, paths))}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number in range(NUM_GOOD):
        write_clip(root / f"good{number}.mp4", num_frames=12 + number)
    write_clip(root / "late.mp4", num_frames=12)
    cut = write_clip(root / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[:-300])
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video at all")
    write_sound(root / "sound.mp4")
    return root


def _records(*names: str, **window: float) -> list[VideoRecord]:
    return [VideoRecord(video_id=name, uri=f"{name}.mp4", split="train", **window) for name in names]


def _good(count: int = NUM_GOOD) -> list[VideoRecord]:
    return _records(*(f"good{number}" for number in range(count)))


def _all() -> list[VideoRecord]:
    *broken, late = BROKEN
    return [*_good(), *_records(*broken), *_records(late, start_seconds=60.0)]


def _store(path: Path, recipe: FrameRecipe = RECIPE) -> FrameStore:
    return FrameStore(path, recipe=asdict(recipe), recipe_hash=recipe.hash)


@pytest.mark.usefixtures("running_ray")
def test_every_video_has_frames_or_a_reason(tmp_path: Path, root: Path) -> None:
    store = _store(tmp_path)
    reports: list[tuple[int, int]] = []
    summary = run_ingest(
        _all(), root=root, recipe=RECIPE, store=store, batch_size=3, report=lambda *counts: reports.append(counts)
    )
    assert (summary.ok, summary.failed, summary.skipped) == (NUM_GOOD, len(BROKEN), 0)
    assert {failure.video_id: failure.kind for failure in store.failures()} == BROKEN
    assert summary.failures_by_kind == {
        "empty": 1,
        "missing": 1,
        "no_video_stream": 1,
        "not_a_video": 1,
        "truncated": 2,
    }
    assert reports[-1] == (16, 16)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert (tmp_path / "failures.parquet").is_file()
    for number in range(NUM_GOOD):
        sampled = store.read(f"good{number}")
        assert named_indices(sampled.frames) == list(sampled.frame_indices)
        assert sampled.frame_indices[-1] == 11 + number

    # from here on nothing is missing, so Ray is not even asked
    again = run_ingest(_all(), root=root, recipe=RECIPE, store=store, batch_size=3, connect=_must_not_connect)
    assert (again.ok, again.failed, again.skipped) == (0, 0, 16)
    assert again.failures_by_kind == summary.failures_by_kind


def _must_not_connect() -> None:
    raise AssertionError("Ray was asked for, though nothing is missing")


@pytest.mark.usefixtures("running_ray")
def test_a_run_that_lost_half_of_its_parts_ends_as_an_undisturbed_one(tmp_path: Path, root: Path) -> None:
    store = _store(tmp_path)
    run_ingest(_all(), root=root, recipe=RECIPE, store=store, batch_size=3)
    undisturbed, names = store.content_hash(), sorted(path.name for path in tmp_path.glob("part-*"))
    for name in names[::2]:
        (tmp_path / name).unlink()
    half_written = tmp_path / ".part-x.0123.parquet"
    half_written.write_bytes(b"PAR1")
    os.utime(half_written, (0, 0))
    summary = run_ingest(_all(), root=root, recipe=RECIPE, store=store, batch_size=3)
    assert summary.ok > 0
    assert store.content_hash() == undisturbed
    assert sorted(path.name for path in tmp_path.glob("part-*")) == names
    assert not half_written.exists()


@pytest.mark.usefixtures("running_ray")
def test_a_killed_actor_costs_nothing_but_time(tmp_path: Path, root: Path) -> None:
    recipe = FrameRecipe(size=16, num_frames=4, decoder="decoder_fakes:slow_frames")
    victims: list[int] = []

    def kill_once(*_: int) -> None:
        if not victims:
            victims.append(int((root / "actor.pid").read_text()))
            os.kill(victims[0], signal.SIGKILL)

    hashes = []
    for name, report in (("calm", None), ("killed", kill_once)):
        store = _store(tmp_path / name, recipe)
        summary = run_ingest(_all(), root=root, recipe=recipe, store=store, batch_size=2, report=report)
        assert (summary.ok, summary.failed) == (NUM_GOOD, len(BROKEN))
        hashes.append(store.content_hash())
    assert victims
    assert hashes[0] == hashes[1]


@pytest.mark.usefixtures("running_ray")
def test_files_that_hang_or_kill_the_decoder_do_not_hurt_their_neighbours(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    names = ("a", "die", "hang", "z")
    for name in names:
        write_clip(root / f"{name}.mp4", num_frames=8)
    recipe = FrameRecipe(size=16, num_frames=4, decoder="decoder_fakes:deadly_frames")
    store = _store(tmp_path / "store", recipe)
    summary = run_ingest(_records(*names), root=root, recipe=recipe, store=store, deadline_seconds=1.0)
    assert summary.failures_by_kind == {"crashed": 1, "too_slow": 1}
    assert store.video_ids() == {"a", "z"}


@pytest.mark.usefixtures("running_ray")
def test_a_failure_is_tried_again_when_its_file_has_changed_or_when_asked(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    (root / "a.mp4").write_text("broken")
    (root / "b.mp4").write_text("broken")
    records, store = _records("a", "b", "c"), _store(tmp_path / "store")
    arguments = {"root": root, "recipe": RECIPE, "store": store}
    assert run_ingest(records, **arguments).failures_by_kind == {"missing": 1, "not_a_video": 2}
    write_clip(root / "a.mp4", num_frames=8)
    write_clip(root / "c.mp4", num_frames=8)
    summary = run_ingest(records, **arguments)
    assert (summary.ok, summary.failed, summary.skipped) == (2, 0, 1)
    assert [failure.video_id for failure in store.failures()] == ["b"]
    summary = run_ingest(records, **arguments, retry_failed=True)
    assert (summary.ok, summary.failed, summary.skipped) == (0, 1, 2)


@pytest.mark.usefixtures("running_ray")
def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, root: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/store/card.json cannot be written .*: free space or mend its folder"):
        run_ingest(_good(2), root=root, recipe=RECIPE, store=_store(tmp_path / "file" / "store"))


def test_an_address_outside_the_root_stops_the_job_before_it_starts(tmp_path: Path, root: Path) -> None:
    records = [VideoRecord(video_id="a", uri="/etc/hostname", split="train")]
    with pytest.raises(DataError, match="uri must stay under the dataset root"):
        run_ingest(records, root=root, recipe=RECIPE, store=_store(tmp_path))


def test_a_batch_size_of_zero_is_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        run_ingest(_good(), root=root, recipe=RECIPE, store=_store(tmp_path), batch_size=0)

"""The ingest stage on Ray: every video accounted for, and a disturbed run equal to an undisturbed one."""

from __future__ import annotations

import errno
import json
import os
import signal
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from PIL import Image

import conical
from clip_factory import grey_level, named_indices, write_clip, write_sound
from conical.core.errors import DataError
from conical.core.progress import Progress, Told
from conical.core.records import Failure, VideoRecord
from conical.library.clips import Clip
from conical.on_ray.ingest import IngestSummary, run_ingest
from conical.on_ray.ingest_worker import IngestWorker, as_unit
from conical.store import FrameStore
from conical.video import FrameRecipe

pytestmark = pytest.mark.ray

# slow enough to be killed in the middle
RECIPE = FrameRecipe(size=16, num_frames=4, decoder="decoder_fakes:slow_frames")
BATCH_SIZE = 2
BROKEN = {
    "absent": "missing",
    "empty": "empty",
    "text": "not_a_video",
    "sound": "no_video_stream",
    "cut": "truncated",
    "late": "truncated",
}
NUM_GOOD = 10
DATA = Path(os.environ.get("CONICAL_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
NUM_ALL = NUM_GOOD + len(BROKEN)


def _frames_of(number: int) -> int:
    """The first good clip has fewer frames than the recipe asks for."""
    return 11 + number if number else 3


def _progress(told: list[Told], stage: str) -> list[Progress]:
    return [one for one in told if isinstance(one, Progress) and one.stage == stage]


@pytest.fixture(scope="module")
def running_ray() -> Iterator[None]:
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
        write_clip(root / f"good{number}.mp4", num_frames=_frames_of(number))
    write_clip(root / "late.mp4", num_frames=12)
    cut = write_clip(root / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[:-300])
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video at all")
    write_sound(root / "sound.mp4")
    return root


def _records(*names: str, **window: float) -> list[VideoRecord]:
    return [VideoRecord(video_id=name, uri=f"{name}.mp4", split="train", **window) for name in names]


def _all() -> list[VideoRecord]:
    *broken, late = BROKEN
    good = (f"good{number}" for number in range(NUM_GOOD))
    return [*_records(*good), *_records(*broken), *_records(late, start_seconds=60.0)]


def _store(path: Path, recipe: FrameRecipe = RECIPE) -> FrameStore:
    return FrameStore(path, recipe=asdict(recipe), recipe_hash=recipe.hash)


def _run(path: Path, root: Path, **arguments: Any) -> tuple[FrameStore, IngestSummary]:
    store = _store(path)
    return store, run_ingest(_all(), root=root, recipe=RECIPE, store=store, batch_size=BATCH_SIZE, **arguments)


@pytest.fixture(scope="module")
def undisturbed(running_ray: None, root: Path, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """The store of a run that nothing disturbed, checked."""
    told: list[Told] = []
    store, summary = _run(tmp_path_factory.mktemp("store"), root, report=told.append)
    assert (summary.ok, summary.failed, summary.skipped) == (NUM_GOOD, len(BROKEN), 0)
    assert (summary.changed, summary.gone, summary.padded) == ((), (), 1)
    assert summary.failures_by_kind == {
        "empty": 1,
        "missing": 1,
        "no_video_stream": 1,
        "not_a_video": 1,
        "truncated": 2,
    }
    reports = _progress(told, "ingest")
    assert [step.done for step in reports] == sorted(step.done for step in reports)
    assert reports[0] == Progress(stage="ingest", done=0, total=NUM_ALL, unit="videos")
    last = reports[-1]
    assert (last.done, last.total, last.note) == (NUM_ALL, NUM_ALL, "6 failed")
    return store


def test_every_video_has_frames_or_a_reason(undisturbed: FrameStore) -> None:
    assert {failure.video_id: failure.kind for failure in undisturbed.failures()} == BROKEN
    assert (undisturbed.path / "failures.parquet").is_file()
    for number in range(NUM_GOOD):
        sampled = undisturbed.read(f"good{number}")
        assert named_indices(sampled.frames) == list(sampled.frame_indices)
        assert sampled.frame_indices[-1] == _frames_of(number) - 1
        assert sampled.is_padded == (number == 0)


def test_a_second_run_does_nothing_and_does_not_ask_for_ray(undisturbed: FrameStore, root: Path) -> None:
    def must_not_connect() -> None:
        raise AssertionError("Ray was asked for, though nothing is missing")

    _, summary = _run(undisturbed.path, root, connect=must_not_connect)
    assert (summary.ok, summary.failed, summary.skipped) == (0, 0, NUM_ALL)
    assert sum(summary.failures_by_kind.values()) == len(BROKEN)


def test_a_run_that_lost_half_of_its_parts_ends_as_an_undisturbed_one(
    undisturbed: FrameStore, root: Path, tmp_path: Path
) -> None:
    copytree(undisturbed.path, tmp_path / "store")
    names = sorted(path.name for path in undisturbed.path.glob("part-*"))
    for name in names[::2]:
        (tmp_path / "store" / name).unlink()
    half_written = tmp_path / "store" / ".part-x.0123.parquet"
    half_written.write_bytes(b"PAR1")
    os.utime(half_written, (0, 0))
    store, summary = _run(tmp_path / "store", root)
    assert summary.ok > 0
    assert store.content_hash() == undisturbed.content_hash()
    assert sorted(path.name for path in store.path.glob("part-*")) == names
    assert not half_written.exists()


def test_a_killed_actor_costs_nothing_but_time(undisturbed: FrameStore, root: Path, tmp_path: Path) -> None:
    victims: list[int] = []

    def kill_once(told: Told) -> None:
        if isinstance(told, Progress) and told.done and not victims:
            victims.append(int((root / "actor.pid").read_text()))
            os.kill(victims[0], signal.SIGKILL)

    store, summary = _run(tmp_path, root, report=kill_once)
    assert victims
    assert (summary.ok, summary.failed) == (NUM_GOOD, len(BROKEN))
    assert store.content_hash() == undisturbed.content_hash()


@pytest.mark.usefixtures("running_ray")
def test_a_failure_is_tried_again_when_its_file_has_changed_or_when_asked(tmp_path: Path) -> None:
    store = _store(tmp_path / "store")
    failures = [
        Failure(video_id=name, uri=f"{name}.mp4", stage="ingest", kind="missing", message="no such file")
        for name in ("a", "b")
    ]
    store.write_failures("earlier", failures)
    write_clip(tmp_path / "a.mp4", num_frames=8)
    arguments = {"root": tmp_path, "recipe": RECIPE, "store": store}
    summary = run_ingest(_records("a", "b"), **arguments)
    assert (summary.ok, summary.failed, summary.skipped) == (1, 0, 1)
    assert store.failures() == failures[1:]
    summary = run_ingest(_records("a", "b"), **arguments, retry_failed=True)
    assert (summary.ok, summary.failed, summary.skipped) == (0, 1, 1)
    assert [failure.message for failure in store.failures()] == ["b.mp4: no such file"]


def _answer(**counts: int) -> dict[str, list[Any]]:
    """What a worker says of a unit that went well."""
    return {"counts": [json.dumps(counts)], "error_type": [""], "message": [""]}


def _do_unit(store: FrameStore, recipe: FrameRecipe, *names: str, root: Path) -> dict[str, list[Any]]:
    """What an actor answers to one unit, without Ray."""
    return _do_uris(store, recipe, {name: f"{name}.mp4" for name in names}, root=root)


def _do_uris(store: FrameStore, recipe: FrameRecipe, uris: dict[str, str], *, root: Path) -> dict[str, list[Any]]:
    clips = [Clip(video_id=name, uri=uri, start_seconds=0.0, end_seconds=None) for name, uri in uris.items()]
    row = as_unit("0", clips).to_row()
    with closing(IngestWorker(root=str(root), recipe=recipe, store=store, deadline_seconds=1.0)) as actor:
        return actor({name: [value] for name, value in row.items()})


def test_files_that_hang_or_kill_the_decoder_do_not_hurt_their_neighbours(tmp_path: Path) -> None:
    names = ("a", "die", "hang", "z")
    for name in names:
        write_clip(tmp_path / f"{name}.mp4", num_frames=8)
    recipe = FrameRecipe(size=16, num_frames=4, decoder="decoder_fakes:deadly_frames")
    store = _store(tmp_path / "store", recipe)
    assert _do_unit(store, recipe, *names, root=tmp_path) == _answer(ok=2, failed=2)
    assert {failure.video_id: failure.kind for failure in store.failures()} == {"die": "crashed", "hang": "too_slow"}
    assert store.video_ids() == {"a", "z"}


def test_a_unit_that_is_repeated_after_its_part_was_written_counts_the_same(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", num_frames=8)
    store = _store(tmp_path / "store")
    first = _do_unit(store, RECIPE, "a", "b", root=tmp_path)
    (part,) = store.path.glob("part-*")
    os.utime(part, (1, 1))
    assert _do_unit(store, RECIPE, "a", "b", root=tmp_path) == first == _answer(ok=1, failed=1)
    assert part.stat().st_mtime == 1


def test_a_store_that_cannot_be_written_is_told_to_the_driver(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = _do_unit(_store(tmp_path / "file" / "store"), RECIPE, "a", root=tmp_path)
    assert answer["message"][0].startswith(f"{tmp_path}/file/store/card.json cannot be written")


@pytest.mark.usefixtures("running_ray")
def test_a_changed_file_is_noticed_when_asked_and_its_frames_replaced(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_clip(tmp_path / f"{name}.mp4", num_frames=8)
    arguments = {"root": tmp_path, "recipe": RECIPE, "batch_size": 3}
    store = _store(tmp_path / "store")
    run_ingest(_records("a", "b", "c", "d"), store=store, **arguments)
    write_clip(tmp_path / "b.mp4", num_frames=16)
    (tmp_path / "c.mp4").write_text("not a video any more")
    (tmp_path / "d.mp4").unlink()
    summary = run_ingest(_records("a", "b", "c", "d"), store=store, **arguments)
    assert (summary.skipped, summary.changed, summary.gone) == (4, (), ())
    assert store.read("b").frame_indices[-1] == 7

    told: list[Told] = []
    summary = run_ingest(_records("a", "b", "c", "d"), store=store, verify=True, report=told.append, **arguments)
    assert (summary.ok, summary.failed, summary.skipped) == (1, 1, 2)
    assert (summary.changed, summary.gone) == (("b", "c"), ("d",))
    assert _progress(told, "verify")[-1] == Progress(stage="verify", done=4, total=4, unit="files")
    assert store.read("b").frame_indices[-1] == 15
    assert {failure.video_id: failure.kind for failure in store.failures()} == {"c": "not_a_video"}
    # the file of d is gone, but what was read from it is still true
    assert store.video_ids() == {"a", "b", "d"}

    undisturbed = _store(tmp_path / "undisturbed")
    run_ingest(_records("a", "b"), store=undisturbed, **arguments)
    store.drop({"d"})
    assert store.content_hash() == undisturbed.content_hash()


@pytest.mark.usefixtures("running_ray")
def test_a_changed_window_is_noticed_without_being_asked(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", num_frames=25)
    write_clip(tmp_path / "b.mp4", num_frames=25)
    arguments = {"root": tmp_path, "recipe": RECIPE, "store": _store(tmp_path / "store")}
    run_ingest([*_records("a"), *_records("b", start_seconds=0.4)], **arguments)
    summary = run_ingest([*_records("a", end_seconds=0.2), *_records("b", start_seconds=0.4)], **arguments)
    assert (summary.ok, summary.skipped, summary.changed) == (1, 1, ("a",))
    assert arguments["store"].read("a").frame_indices == (0, 1, 3, 4)
    assert arguments["store"].read("b").frame_indices[0] == 10


def _at(**uris: str) -> list[VideoRecord]:
    return [VideoRecord(video_id=name, uri=uri, split="train") for name, uri in uris.items()]


@pytest.mark.usefixtures("running_ray")
def test_a_corrected_address_is_noticed_without_being_asked(tmp_path: Path) -> None:
    for name, num_frames in (("x", 8), ("y", 16), ("b", 8)):
        write_clip(tmp_path / f"{name}.mp4", num_frames=num_frames)
    store = _store(tmp_path / "store")
    arguments = {"root": tmp_path, "recipe": RECIPE, "store": store}
    run_ingest(_at(a="x.mp4", b="b.mp4"), **arguments)
    told: list[Told] = []
    summary = run_ingest(_at(a="y.mp4", b="b.mp4"), report=told.append, **arguments)
    assert (summary.ok, summary.skipped, summary.changed) == (1, 1, ("a",))
    assert store.read("a").frame_indices[-1] == 15
    # only the one whose address is another was hashed
    assert _progress(told, "verify")[-1] == Progress(stage="verify", done=1, total=1, unit="files")
    # and back again, which a store that forgot the second address would not notice
    assert run_ingest(_at(a="x.mp4", b="b.mp4"), **arguments).changed == ("a",)
    assert store.read("a").frame_indices[-1] == 7


@pytest.mark.usefixtures("running_ray")
def test_data_that_moves_keeps_its_frames_and_is_hashed_once(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", num_frames=8)
    store = _store(tmp_path / "store")
    arguments = {"root": tmp_path, "recipe": RECIPE, "store": store}
    run_ingest(_at(a="a.mp4"), **arguments)
    content = store.content_hash()
    parts = sorted(store.path.glob("part-*"))
    (tmp_path / "moved").mkdir()
    (tmp_path / "a.mp4").rename(tmp_path / "moved" / "a.mp4")
    num_hashed = []
    for _ in range(2):
        told: list[Told] = []
        summary = run_ingest(_at(a="moved/a.mp4"), report=told.append, **arguments)
        assert (summary.ok, summary.skipped, summary.changed, summary.gone) == (0, 1, (), ())
        num_hashed.append(max((one.done for one in _progress(told, "verify")), default=0))
    assert num_hashed == [1, 0]
    assert (store.content_hash(), sorted(store.path.glob("part-*"))) == (content, parts)


@pytest.mark.usefixtures("running_ray")
def test_frames_of_unknown_address_are_compared_with_the_file(tmp_path: Path) -> None:
    for name, num_frames in (("a", 8), ("b", 8), ("other", 16)):
        write_clip(tmp_path / f"{name}.mp4", num_frames=num_frames)
    store = _store(tmp_path / "store")
    arguments = {"root": tmp_path, "recipe": RECIPE, "store": store}
    run_ingest(_at(a="a.mp4", b="b.mp4"), **arguments)
    (store.path / "addresses.parquet").unlink()
    summary = run_ingest(_at(a="a.mp4", b="other.mp4"), **arguments)
    assert (summary.ok, summary.skipped, summary.changed) == (1, 1, ("b",))
    assert store.read("b").frame_indices[-1] == 15


@pytest.mark.usefixtures("running_ray")
def test_frames_whose_new_address_leads_nowhere_stay_until_there_is_a_file(tmp_path: Path) -> None:
    write_clip(tmp_path / "x.mp4", num_frames=8)
    store = _store(tmp_path / "store")
    arguments = {"root": tmp_path, "recipe": RECIPE, "store": store}
    run_ingest(_at(a="x.mp4"), **arguments)
    for _ in range(2):
        summary = run_ingest(_at(a="y.mp4"), **arguments)
        assert (summary.skipped, summary.changed, summary.gone) == (1, (), ("a",))
    write_clip(tmp_path / "y.mp4", num_frames=16)
    summary = run_ingest(_at(a="y.mp4"), **arguments)
    assert (summary.ok, summary.changed) == (1, ("a",))
    assert store.read("a").frame_indices[-1] == 15


def test_videos_without_a_file_are_set_aside_without_ray_and_decoded_once_there_is_one(
    tmp_path: Path, running_ray: None
) -> None:
    def must_not_connect() -> None:
        raise AssertionError("Ray was asked for, though there is no file")

    records = [VideoRecord(video_id="a", uri="", split="train")]
    store = _store(tmp_path / "store")
    for failed, skipped in ((1, 0), (0, 1)):
        summary = run_ingest(records, root=tmp_path, recipe=RECIPE, store=store, connect=must_not_connect)
        assert (summary.failed, summary.skipped, summary.failures_by_kind) == (failed, skipped, {"missing": 1})
    (failure,) = store.failures()
    assert failure.message == f"a: no file was found for it under {tmp_path}: get it, and import the dataset again"

    write_clip(tmp_path / "a.mp4", num_frames=8)
    summary = run_ingest(_records("a"), root=tmp_path, recipe=RECIPE, store=store)
    assert (summary.ok, summary.failures_by_kind) == (1, {})
    # a video whose file is gone keeps its frames
    summary = run_ingest(records, root=tmp_path, recipe=RECIPE, store=store, verify=True)
    assert (summary.skipped, summary.changed, summary.gone) == (1, (), ("a",))


@pytest.mark.shared_data
@pytest.mark.skipif(not DATA.is_dir(), reason="real clips are absent: set CONICAL_SHARED_DATA")
@pytest.mark.usefixtures("running_ray")
def test_every_real_file_however_awkward_has_frames_or_a_reason(tmp_path: Path) -> None:
    files = sorted(path for folder in ("awkward", "clips/*") for path in DATA.glob(f"{folder}/*") if path.is_file())
    records = [
        VideoRecord(video_id=path.name, uri=str(path.relative_to(DATA)), split="train")
        for path in files
        if path.suffix != ".json"
    ]
    assert len(records) > 30
    recipe = FrameRecipe(size=64)
    store = _store(tmp_path, recipe)
    summary = run_ingest(records, root=DATA, recipe=recipe, store=store)
    assert summary.ok + summary.failed == len(records)
    assert store.video_ids().isdisjoint(failure.video_id for failure in store.failures())
    assert {failure.video_id: failure.kind for failure in store.failures()} == {
        "bad_video.mp4": "not_a_video",
        "corrupted.mp4": "corrupt",
        "gif.gif": "corrupt",
        "mp4-with-audio.mp4": "no_video_stream",
        "mp4parse_capi__chunk_out_of_range.mp4": "corrupt",
        "zero_bytes.mp4": "empty",
    }


def test_clips_in_tar_files_and_folders_of_images_are_decoded(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", num_frames=8)
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        shard.add(tmp_path / "a.mp4", arcname="in/a.mp4")
    (tmp_path / "images").mkdir()
    for number in range(5):
        picture = np.full((16, 16, 3), grey_level(number), np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
    recipe = FrameRecipe(size=16, num_frames=4)
    store = _store(tmp_path / "store", recipe)
    uris = {"file": "a.mp4", "tar": "shard.tar/in/a.mp4", "folder": "images", "absent": "shard.tar/b.mp4"}
    assert _do_uris(store, recipe, uris, root=tmp_path) == _answer(ok=3, failed=1)
    assert named_indices(store.read("folder").frames) == list(store.read("folder").frame_indices) == [0, 1, 3, 4]
    np.testing.assert_array_equal(store.read("tar").frames, store.read("file").frames)
    assert store.fingerprints()["tar"] == store.fingerprints()["file"]
    assert [(failure.video_id, failure.kind) for failure in store.failures()] == [("absent", "missing")]


def test_large_frames_are_written_before_the_unit_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conical.on_ray.ingest_worker._PART_BYTES", 2 * 4 * 16 * 16 * 3)
    for name in "abcde":
        write_clip(tmp_path / f"{name}.mp4", num_frames=8)
    store = _store(tmp_path / "store")
    assert _do_unit(store, RECIPE, *"abcde", root=tmp_path) == _answer(ok=5, failed=0)
    assert len(list(store.path.glob("part-*"))) == 3
    assert store.video_ids() == set("abcde")


def test_a_full_temporary_folder_ends_the_job_and_blames_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("conical.on_ray.ingest_worker.local_media", full)
    store = _store(tmp_path / "store")
    answer = _do_unit(store, RECIPE, "a", root=tmp_path)
    assert answer["message"][0].startswith("a.mp4 cannot be copied for decoding (No space left on device): free space")
    assert store.failures() == []


def test_an_address_outside_the_root_stops_the_job_before_it_starts(tmp_path: Path, root: Path) -> None:
    records = [VideoRecord(video_id="a", uri="/etc/hostname", split="train")]
    with pytest.raises(DataError, match="uri must stay under the dataset root"):
        run_ingest(records, root=root, recipe=RECIPE, store=_store(tmp_path))


def test_a_batch_size_of_zero_is_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        run_ingest(_all(), root=root, recipe=RECIPE, store=_store(tmp_path), batch_size=0)

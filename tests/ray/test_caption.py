"""The caption stage on Ray: every text accounted for, and a killed run equal to an undisturbed one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import conical
from caption_fakes import FOLDER_VARIABLE, NUM_VIDEOS, POISON_LEVEL, frame_store, options, records
from conical.core.errors import ClusterError, ConfigError
from conical.core.progress import Progress, Told
from conical.core.records import VideoRecord
from conical.on_ray.caption import run_captioning
from conical.store import CaptionLedger, FrameStore

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running Ray whose workers know the fakes, and the folder through which a test speaks to them."""
    # else Ray leaves a token in the home folder, which later commands trip over
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    folder = tmp_path_factory.mktemp("fakes")
    paths = (Path(conical.__file__).parent.parent, Path(__file__).parent.parent)
    variables = {"PYTHONPATH": os.pathsep.join(map(str, paths)), FOLDER_VARIABLE: str(folder)}
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": variables},
    )
    yield folder
    ray.shutdown()


@pytest.fixture(autouse=True)
def quiet_fakes(folder: Path) -> None:
    for name in ("pids", "deaths"):
        (folder / name).mkdir(exist_ok=True)
        for file in (folder / name).iterdir():
            file.unlink()
    (folder / "slow").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    (folder / "pids").mkdir(exist_ok=True)
    path = tmp_path_factory.mktemp("undisturbed")
    ledger = CaptionLedger(path / "captions")
    summary = run_captioning(records(), frames=frame_store(path), ledger=ledger, options=options(), num_actors=2)
    assert (summary.ok, summary.failed, summary.skipped, summary.truncated) == (3 * NUM_VIDEOS, 0, 0, 3)
    return ledger.content_hash()


def test_each_text_belongs_to_its_clip_and_prompt(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    told: list[Told] = []
    run_captioning(
        records(),
        frames=frame_store(tmp_path),
        ledger=ledger,
        options=options(),
        report=told.append,
    )
    rows = ledger.records()
    assert len(rows) == 3 * NUM_VIDEOS
    for row in rows:
        number = int(row.video_id[1:])
        assert row.text.startswith(f"level {number} asked")
        assert (f"caption of {number}" in row.text) == (row.prompt_id == "A")
        assert (row.tokens_out, row.truncated) == (number, number == 3)
        assert (row.captioner, row.model, row.revision) == ("caption_fakes:GreyCaptioner", "grey", "1")
    # 10 clips by 3 are 4 units; the first says what was there
    progress = [one for one in told if isinstance(one, Progress)]
    assert [one.done for one in progress][::4] == [0, 30]
    assert progress[-1] == Progress(stage="caption", done=30, total=30, unit="captions")


def test_an_actor_killed_midway_leaves_the_ledger_of_an_undisturbed_run(
    folder: Path, tmp_path: Path, undisturbed: str
) -> None:
    (folder / "slow").touch()
    killed: list[int] = []

    def kill_the_actor(progress: Progress) -> None:
        if not killed and progress.done < progress.total:
            killed.extend(int(file.name) for file in (folder / "pids").iterdir())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    ledger = CaptionLedger(tmp_path / "captions")
    summary = run_captioning(
        records(), frames=frame_store(tmp_path), ledger=ledger, options=options(), report=kill_the_actor
    )
    assert len(killed) == 1
    assert len(list((folder / "pids").iterdir())) == 2
    assert summary.ok == 3 * NUM_VIDEOS
    assert ledger.content_hash() == undisturbed


def test_a_run_resumed_after_a_loss_equals_an_undisturbed_one_and_a_third_run_does_nothing(
    folder: Path, tmp_path: Path, undisturbed: str
) -> None:
    frames, path = frame_store(tmp_path), tmp_path / "captions"
    run_captioning(records(), frames=frames, ledger=CaptionLedger(path), options=options())
    for part in sorted(path.glob("part-*.parquet"))[::2]:
        part.unlink()
    kept = len(CaptionLedger(path).keys())
    assert 0 < kept < 30
    summary = run_captioning(records(), frames=frames, ledger=CaptionLedger(path), options=options())
    assert (summary.ok, summary.skipped) == (30 - kept, kept)
    assert CaptionLedger(path).content_hash() == undisturbed
    for file in (folder / "pids").iterdir():
        file.unlink()
    summary = run_captioning(
        records(), frames=frames, ledger=CaptionLedger(path), options=options(), connect=must_not_connect
    )
    assert (summary.ok, summary.skipped) == (0, 30)
    assert not list((folder / "pids").iterdir())


def must_not_connect() -> None:
    raise AssertionError("Ray was asked for, though nothing is missing")


def test_a_prompt_added_later_gives_what_all_prompts_at_once_give(tmp_path: Path, undisturbed: str) -> None:
    frames, ledger = frame_store(tmp_path), CaptionLedger(tmp_path / "captions")
    run_captioning(records(), frames=frames, ledger=ledger, options=options(prompts=("B",)))
    summary = run_captioning(records(), frames=frames, ledger=ledger, options=options())
    assert (summary.ok, summary.skipped) == (20, 10)
    assert ledger.content_hash() == undisturbed


def test_what_cannot_be_captioned_is_counted_and_named_and_the_job_goes_on(tmp_path: Path) -> None:
    clips = [*records(4), VideoRecord(video_id="v04", uri="4.mp4", split="train")]
    # v01 has no frames, v02 breaks the captioner, v04 has no human caption for prompt A
    frames = frame_store(tmp_path, levels={"v00": 0, "v02": POISON_LEVEL, "v03": 3, "v04": 4})
    ledger = CaptionLedger(tmp_path / "captions")
    summary = run_captioning(clips, frames=frames, ledger=ledger, options=options())
    assert (summary.ok, summary.failed, summary.skipped_without_frames) == (8, 4, 3)
    assert not [row for row in ledger.records() if row.video_id == "v02"]
    reasons = {(failure.video_id, failure.prompt_id): failure.reason for failure in ledger.failures()}
    assert reasons == {
        ("v04", "A"): "prompt A reads the human caption, but the clip has none",
        **{("v02", prompt): "RuntimeError: cannot look at level 99" for prompt in "ABC"},
    }
    assert list(summary.failures) == ledger.failures()
    kept = options(retry_failed=False)
    again = run_captioning(clips, frames=frames, ledger=ledger, options=kept, connect=must_not_connect)
    assert (again.ok, again.failed, again.skipped, again.skipped_failed, again.skipped_without_frames) == (
        0,
        0,
        8,
        4,
        3,
    )
    assert again.failures == summary.failures


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("AwayCaptioner", ClusterError, "the caption server is away: start it"),
        ("UnloadableCaptioner", ConfigError, "captions.model 'grey' cannot be loaded: mend it"),
    ],
)
def test_a_mistake_met_by_an_actor_ends_the_job_in_one_line(
    tmp_path: Path, name: str, kind: type[Exception], message: str
) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    with pytest.raises(kind, match=f"^{message}$"):
        run_captioning(records(), frames=frame_store(tmp_path), ledger=ledger, options=options(name))
    assert not ledger.keys()


def test_clips_that_kill_every_actor_end_the_job_instead_of_repeating_for_ever(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conical.on_ray.pool._ATTEMPTS_PER_UNIT", 2)
    with pytest.raises(
        ClusterError, match=r"^caption lost a worker: .* lower captions.batch_size or ray.num_captioners if memory"
    ):
        run_captioning(
            records(3),
            frames=frame_store(tmp_path),
            ledger=CaptionLedger(tmp_path / "captions"),
            options=options("DyingCaptioner"),
        )
    assert len(list((folder / "deaths").iterdir())) == 2


def test_frames_of_another_number_than_the_captioner_watches_are_refused(tmp_path: Path) -> None:
    store = FrameStore(tmp_path, recipe={"num_frames": 10, "codec": "raw", "jpeg_quality": 95}, recipe_hash="ten")
    with pytest.raises(ConfigError, match="watches exactly 2 frames per clip, but the frame store holds 10: ingest"):
        run_captioning(records(), frames=store, ledger=CaptionLedger(tmp_path / "captions"), options=options())

"""The caption stage on Ray: every text accounted for, and a killed run equal to an undisturbed one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conical
from caption_fakes import FOLDER_VARIABLE, NUM_FRAMES, POISON_LEVEL
from conical.captioning import CaptionOptions
from conical.core.errors import ClusterError, ConfigError, DataError
from conical.core.progress import Progress
from conical.core.records import SampledFrames, VideoRecord
from conical.on_ray.caption import refuse_mostly_failed, run_captioning
from conical.store import CaptionLedger, FrameRow, FrameStore

pytestmark = pytest.mark.ray

NUM_VIDEOS = 10


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


def records(count: int = NUM_VIDEOS) -> list[VideoRecord]:
    return [
        VideoRecord(video_id=f"v{number:02}", uri=f"{number}.mp4", split="train", captions=(f"caption of {number}",))
        for number in range(count)
    ]


def frame_store(path: Path, *, levels: dict[str, int] | None = None) -> FrameStore:
    """Clips of one grey level each, by default their number."""
    levels = levels or {record.video_id: number for number, record in enumerate(records())}
    recipe = {"num_frames": NUM_FRAMES, "size": 8, "codec": "raw", "jpeg_quality": 95}
    store = FrameStore(path / "frames", recipe=recipe, recipe_hash="recipe")
    rows = [
        FrameRow(
            video_id=video_id,
            fingerprint=f"file of {video_id}",
            sampled=SampledFrames(
                frames=np.full((NUM_FRAMES, 8, 8, 3), level, np.uint8),
                frame_indices=(0, 1),
                pts_seconds=(0.0, 0.1),
                decoder="none",
            ),
        )
        for video_id, level in levels.items()
    ]
    store.write_part("all", rows)
    return store


def options(name: str = "GreyCaptioner", **changes: Any) -> CaptionOptions:
    return CaptionOptions(captioner=f"caption_fakes:{name}", **({"batch_size": 3} | changes))


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
    progress: list[Progress] = []
    run_captioning(
        records(),
        frames=frame_store(tmp_path),
        ledger=ledger,
        options=options(),
        report=progress.append,
    )
    rows = ledger.records()
    assert len(rows) == 3 * NUM_VIDEOS
    for row in rows:
        number = int(row.video_id[1:])
        assert row.text.startswith(f"level {number} asked")
        assert (f"caption of {number}" in row.text) == (row.prompt_id == "A")
        assert (row.tokens_out, row.truncated) == (number, number == 3)
        assert (row.captioner, row.model, row.revision) == ("caption_fakes:GreyCaptioner", "grey", "1")
    # 10 clips by 3 are 4 units
    assert len(progress) == 4
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


def test_what_failed_is_tried_again_and_what_was_written_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    frames, ledger = frame_store(tmp_path, levels={"v00": 0, "v01": 1, "v02": 2}), CaptionLedger(tmp_path / "captions")
    moody = options("MoodyCaptioner", batch_size=2)
    (folder / "mood").write_text("v01 v02")
    first = run_captioning(records(3), frames=frames, ledger=ledger, options=moody)
    assert (first.ok, first.failed) == (3, 6)
    assert {failure.reason for failure in first.failures} == {'refusal: "I cannot help with that."'}
    written = {row.key: row.text for row in ledger.records()}
    with pytest.raises(DataError, match=r"^2 of 3 texts of prompt A failed: 2x refusal: .* tries failed texts again"):
        refuse_mostly_failed(first, ledger)
    (folder / "mood").write_text("v02")
    second = run_captioning(records(3), frames=frames, ledger=ledger, options=moody)
    assert (second.ok, second.failed, second.skipped) == (3, 3, 3)
    refuse_mostly_failed(second, ledger)
    (folder / "mood").write_text("")
    third = run_captioning(records(3), frames=frames, ledger=ledger, options=moody)
    assert (third.ok, third.failed, third.skipped, third.failures) == (3, 0, 6, ())
    assert {row.key: row.text for row in ledger.records()}.items() >= written.items()
    assert not list(ledger.path.glob("failures*"))


def test_answers_of_any_form_cost_their_rows_and_not_the_stage(tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    frames = frame_store(tmp_path)
    summary = run_captioning(records(), frames=frames, ledger=ledger, options=options("OddCaptioner", prompts=("B",)))
    reasons = {failure.video_id: failure.reason for failure in summary.failures}
    assert {row.video_id: row.text for row in ledger.records()} == {"v00": "a fine text", "v01": "parts of a text"}
    assert reasons == {
        "v02": 'half a character (lone surrogate): "half \\ud800"',
        "v03": 'control character U+0000: "nul\\x00"',
        "v04": "empty text",
        "v05": "no CaptionText: a str",
        "v06": "MemoryError: too\\x00large",
        "v07": "no CaptionText: a NoneType",
        "v08": "out of tokens \\ud800",
        "v09": 'cut off in mid-thought: "<think>hm"',
    }


@pytest.mark.parametrize("name", ["NoAnswersCaptioner", "FewAnswersCaptioner"])
def test_a_captioner_that_gives_another_number_of_answers_fails_its_rows(tmp_path: Path, name: str) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    summary = run_captioning(
        records(2),
        frames=frame_store(tmp_path, levels={"v00": 0, "v01": 1}),
        ledger=ledger,
        options=options(name, prompts=("B",)),
    )
    assert (summary.ok, summary.failed) == (0, 2)
    with pytest.raises(
        DataError, match=r"^2 of 2 texts of prompt B failed: 2x (ValueError: the captioner gave 0|TypeErr)"
    ):
        refuse_mostly_failed(summary, ledger)


def test_a_captioner_that_asks_row_by_row_is_asked_for_missing_rows_only(folder: Path, tmp_path: Path) -> None:
    frames, ledger = frame_store(tmp_path, levels={"v00": 0, "v01": 1, "v02": 2}), CaptionLedger(tmp_path / "captions")
    single = options("MoodySingleCaptioner", prompts=("B",))
    (folder / "asked").unlink(missing_ok=True)
    (folder / "mood").write_text("v01")
    run_captioning(records(3), frames=frames, ledger=ledger, options=single)
    (folder / "mood").write_text("")
    run_captioning(records(3), frames=frames, ledger=ledger, options=single)
    assert (folder / "asked").read_text().split() == ["0,1,2", "1"]


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
    with pytest.raises(ClusterError, match="captioning was stopped by Ray"):
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

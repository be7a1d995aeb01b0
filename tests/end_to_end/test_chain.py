"""The whole chain on real files; killed twice, it gives the result of an undisturbed run."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from conical.config import load_experiment
from conical.metrics import EvaluationName
from conical.on_ray.caption import caption
from conical.on_ray.epochs import epoch_row, run_epochs
from conical.on_ray.evaluate import evaluate_run
from conical.on_ray.evaluate_worker import ScoreTask, score_on_ray
from conical.on_ray.ingest import ingest
from conical.on_ray.room import Need
from conical.on_ray.train import train
from conical.reports import write_report
from conical.runs.dependencies import data_source
from conical.runs.log import open_tracker
from conical.runs.report.builder import build_report
from conical.store import CaptionLedger, FrameStore, Workspace

pytestmark = [pytest.mark.ray, pytest.mark.end_to_end, pytest.mark.timeout(600)]

# broken on purpose by the dataset itself: one cut short, one that is no video
_BROKEN = {"truncated": 1, "not_a_video": 1}


@pytest.fixture(scope="module")
def experiment():
    return load_experiment(
        None,
        [
            "dataset.scenes.train=24",
            "dataset.scenes.val=8",
            "dataset.scenes.test=10",
            "captions.batch_size=4",
            'captions.prompts=["A","B"]',
            "captions.generation.max_new_tokens=24",
            "optim.epochs=4",
            "optim.batch_size=12",
            # so that a killed worker goes on from the middle of an epoch
            "optim.checkpoint_steps=1",
        ],
    )


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    import ray

    from conical.on_ray.session import connect

    os.environ["RAY_ADDRESS"] = "local"
    yield lambda workspace: connect(workspace.logs)
    ray.shutdown()
    del os.environ["RAY_ADDRESS"]


def kill_once(title: str, when) -> threading.Thread:
    """Kill -9 the first descendant whose title holds `title`, as soon as `when()` is true."""
    killed: list[int] = []

    def watch() -> None:
        deadline = time.monotonic() + 240
        while not killed and time.monotonic() < deadline:
            for process in psutil.Process().children(recursive=True) if when() else ():
                try:
                    if title in " ".join(process.cmdline()):
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
                        return
                except (psutil.NoSuchProcess, ProcessLookupError):
                    continue
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.killed = killed
    thread.start()
    return thread


def chain(experiment, root: Path, *, is_disturbed: bool):
    workspace = Workspace.open(root)
    ingested = ingest(experiment, workspace)
    assert (ingested.ok, ingested.failed) == (42, 2)
    assert dict(ingested.failures_by_kind) == _BROKEN

    ledger_folder = workspace.captions(experiment.dataset.folder)
    watchers = []
    if is_disturbed:
        watchers.append(kill_once("MapBatches(caption ", lambda: len(list(ledger_folder.glob("part*.parquet"))) >= 2))
    captioned = caption(experiment, workspace)
    assert captioned.ok == 42 * 2
    assert captioned.skipped_without_frames == 2 * 2

    tracker = open_tracker(experiment, workspace)
    runs = workspace.experiment(experiment.name) / "runs"
    if is_disturbed:
        watchers.append(kill_once("RayTrainWorker", lambda: any(_epochs(p) >= 2 for p in runs.glob("*/curve.json"))))
    run = train(experiment, workspace, tracker)
    for watcher in watchers:
        watcher.join(1)
        assert watcher.killed, "nothing was killed: the test shows nothing"
    return workspace, run, evaluate_run(run, workspace, tracker, experiment.evaluate)


def _epochs(curve: Path) -> int:
    return curve.read_text().count('"epoch"')


@pytest.fixture(scope="module")
def undisturbed(experiment, tmp_path_factory):
    return chain(experiment, tmp_path_factory.mktemp("undisturbed"), is_disturbed=False)


@pytest.fixture(scope="module")
def disturbed(experiment, tmp_path_factory):
    return chain(experiment, tmp_path_factory.mktemp("disturbed"), is_disturbed=True)


def test_killed_actors_and_workers_leave_the_same_stores(experiment, undisturbed, disturbed):
    folder = experiment.dataset.folder
    hashes = [
        (
            CaptionLedger(workspace.captions(folder)).content_hash(),
            FrameStore.open(workspace.frames(folder, experiment.frames.hash)).content_hash(),
        )
        for workspace, _, _ in (undisturbed, disturbed)
    ]
    assert hashes[0] == hashes[1]


def test_killed_workers_leave_the_same_run_and_the_same_ranks(undisturbed, disturbed):
    (_, run, scored), (_, disturbed_run, disturbed_scored) = undisturbed, disturbed
    assert run.path.name == disturbed_run.path.name
    curve, other = run.read_curve(), disturbed_run.read_curve()
    assert [row["epoch"] for row in other] == [0, 1, 2, 3, 4]
    for row, same in zip(curve, other, strict=True):
        assert {k: v for k, v in row.items() if not k.startswith(("train/rows", "train/waiting"))} == {
            k: v for k, v in same.items() if not k.startswith(("train/rows", "train/waiting"))
        }
    for evaluation, same in zip(scored, disturbed_scored, strict=True):
        np.testing.assert_array_equal(evaluation.similarity, same.similarity)
        assert evaluation.metrics == same.metrics


def test_two_ranks_learn_what_one_process_learns(experiment, undisturbed):
    workspace, run, _ = undisturbed
    rows = []
    run_epochs(
        experiment,
        data_source(experiment, workspace),
        report=lambda epoch: rows.append(epoch_row(epoch)),
        warn=print,
    )
    for one, two in zip(rows, run.read_curve(), strict=True):
        names = [name for name in one if name.startswith("train/loss")]
        np.testing.assert_allclose([one[name] for name in names], [two[name] for name in names], rtol=2e-4)


def test_a_ray_task_scores_as_this_process_does(experiment, undisturbed):
    workspace, run, (val, _) = undisturbed
    task = ScoreTask(
        path=str(run.path),
        settings=experiment.to_dict(),
        source=data_source(experiment, workspace),
        options=experiment.evaluate,
        names=(EvaluationName(split="val"),),
        subsets={},
    )
    (remote,) = score_on_ray(
        task, Need(stage="evaluate", worker="task", each={"CPU": 1.0}, most=1, least=1, settings=""), print
    )
    np.testing.assert_allclose(remote.similarity, val.similarity, atol=1e-6)
    assert remote.metrics["t2v/R1"] == val.metrics["t2v/R1"]


def test_the_run_is_whole_in_the_tracker(experiment, undisturbed):
    workspace, run, _ = undisturbed
    tracker = open_tracker(experiment, workspace)
    record = run.read()
    tracked = tracker.client.get_run(record.tracking_id)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["loss.tau_tv"] == str(experiment.loss.tau_tv)
    assert tracked.data.tags["conical.hash.captions"] == record.data_hashes["captions"]
    assert tracked.data.tags["conical.test_looks"] == "1"
    steps = tracker.client.get_metric_history(record.tracking_id, "step/loss")
    assert [metric.step for metric in steps] == list(range(8))
    assert {"test/t2v R1", "test/v2t MeanR", "best val/t2v R1"} <= tracked.data.metrics.keys()
    names = {item.path for item in tracker.client.list_artifacts(record.tracking_id, "evaluation")}
    assert {"evaluation/test-raw.json", "evaluation/test-raw.npz", "evaluation/metrics.csv"} <= names
    assert tracker.running() == []


def test_each_stage_done_is_not_done_again(experiment, undisturbed):
    workspace, run, _ = undisturbed
    assert ingest(experiment, workspace).skipped == 44
    again = caption(experiment, workspace)
    assert (again.ok, again.failed, again.skipped) == (0, 0, 84)
    before = (run.path / "run.json").stat().st_mtime_ns
    assert train(experiment, workspace, open_tracker(experiment, workspace)).path == run.path
    assert (run.path / "run.json").stat().st_mtime_ns == before


def test_the_report_shows_the_run(experiment, undisturbed):
    workspace, _, _ = undisturbed
    paths = write_report(build_report(workspace, experiment.name), workspace.root / "report")
    page = paths.page.read_text()
    assert experiment.title in page
    assert page.count("<img") >= 3

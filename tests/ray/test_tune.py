"""A sweep on Ray Tune: whole in the tracker, done once, and the same after the driver was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import conical
from conical.config import Experiment, load_experiment
from conical.core.errors import ConfigError
from conical.metrics import tracked_name
from conical.on_ray.tune import tune
from conical.runs.identity import sweep_path
from conical.runs.log import open_tracker
from conical.runs.tracked import best_metric
from conical.store import RunFolder, Sweep, Workspace, read_sweep
from ingested_stores import write_stores

pytestmark = [pytest.mark.ray]

NUM_TRIALS, EPOCHS, STEPS = 3, 2, 3
SIZES = {"train": 12, "val": 6, "test": 6}

# the sweep in a process of its own, as a user's: Ray's processes are in its group and die with it
DRIVER = """
import sys
from conical.config import load_experiment
from conical.runs.log import open_tracker
from conical.on_ray.tune import tune
from conical.store import Workspace

experiment, workspace = load_experiment(sys.argv[1]), Workspace.open(sys.argv[2])
tune(experiment, workspace, open_tracker(experiment, workspace))
"""


@pytest.fixture(scope="module")
def experiment(small_clip) -> Experiment:
    return load_experiment(
        None,
        [
            f"model.name={small_clip.name}",
            f"model.weights={small_clip.weights}",
            "frames.size=32",
            "frames.num_frames=3",
            "mix={human=1.0, A=0.0, B=0.0}",
            f"optim.epochs={EPOCHS}",
            "optim.batch_size=4",
            "optim.learning_rate=0.01",
            f"tune.num_trials={NUM_TRIALS}",
            "tune.max_concurrent=1",  # one after the other: a draw never depends on which trial was faster
            "tune.scheduler=none",
            "tune.space={'loss.tau_tv'={log_uniform=[1.0, 100.0]}, 'optim.learning_rate'={uniform=[0.001, 0.02]}}",
        ],
    )


@pytest.fixture(scope="module")
def prepared(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with frames; each sweep works on a copy."""
    import ray

    os.environ["RAY_ADDRESS"] = "local"
    workspace = Workspace.open(tmp_path_factory.mktemp("prepared"))
    write_stores(experiment, workspace, SIZES)
    yield workspace.root
    ray.shutdown()
    del os.environ["RAY_ADDRESS"]


def sweep_in(root: Path, experiment: Experiment) -> Sweep:
    workspace = Workspace.open(root)
    return tune(experiment, workspace, open_tracker(experiment, workspace))


@pytest.fixture(scope="module")
def undisturbed(experiment: Experiment, prepared: Path) -> Sweep:
    return sweep_in(prepared, experiment)


def test_the_trial_with_the_highest_val_value_wins(experiment: Experiment, prepared: Path, undisturbed: Sweep) -> None:
    assert undisturbed.is_finished
    assert [trial.number for trial in undisturbed.trials] == list(range(NUM_TRIALS))
    assert {(trial.status, trial.epochs) for trial in undisturbed.trials} == {("finished", EPOCHS)}
    assert undisturbed.best.value == max(trial.value for trial in undisturbed.trials)
    # the experiment's own settings are tried first, so that a sweep is never worse on val than they are
    assert undisturbed.trials[0].settings["loss.tau_tv"] == pytest.approx(experiment.loss.tau_tv)
    runs = Workspace(prepared).experiment(experiment.name) / "runs"
    for trial in undisturbed.trials:
        run = RunFolder(runs / trial.run_key)
        assert run.is_finished
        assert trial.value == max(row[undisturbed.metric] for row in run.read_curve())
        config = run.read().config
        assert config["loss"]["tau_tv"] == trial.settings["loss.tau_tv"]
        assert config["optim"]["learning_rate"] == trial.settings["optim.learning_rate"]
    assert len({trial.settings["loss.tau_tv"] for trial in undisturbed.trials}) == NUM_TRIALS


def test_the_ranks_behind_each_value_are_kept_and_trials_are_tested_against_the_best(
    experiment: Experiment, prepared: Path, undisturbed: Sweep
) -> None:
    runs = Workspace(prepared).experiment(experiment.name) / "runs"
    for trial in undisturbed.trials:
        ranked = RunFolder(runs / trial.run_key).read_val_ranking()
        assert ranked is not None
        assert trial.value == pytest.approx(100 * ranked.ranking.hits(1).mean())
    assert undisturbed.indistinguishable is not None
    assert undisturbed.best.number not in undisturbed.indistinguishable
    assert f"all pairs of {NUM_TRIALS} trials" in undisturbed.indistinguishable_test


def test_trials_are_children_of_the_sweep_and_none_is_left_running(
    experiment: Experiment, prepared: Path, undisturbed: Sweep
) -> None:
    tracker = open_tracker(experiment, Workspace(prepared))
    client = tracker.client
    sweep = client.get_run(undisturbed.tracking_id)
    assert sweep.info.status == "FINISHED"
    assert sweep.data.tags["conical.best_run"] == undisturbed.best.run_key
    assert sweep.data.tags["conical.indistinguishable"] == str(len(undisturbed.indistinguishable))
    assert sweep.data.metrics[best_metric(undisturbed.metric)] == undisturbed.best.value
    children = child_runs(tracker, undisturbed)
    assert {run.data.tags["conical.key"] for run in children} == {trial.run_key for trial in undisturbed.trials}
    for run in children:
        assert run.info.status == "FINISHED"
        steps = client.get_metric_history(run.info.run_id, "step/loss")
        assert [point.step for point in steps] == list(range(EPOCHS * STEPS))
        epochs = client.get_metric_history(run.info.run_id, tracked_name(undisturbed.metric))
        assert [point.step for point in epochs] == list(range(EPOCHS + 1))
    assert tracker.running() == []


def child_runs(tracker, sweep: Sweep) -> list:
    filter_string = f"tags.`mlflow.parentRunId` = '{sweep.tracking_id}'"
    return tracker.client.search_runs([tracker.experiment_id], filter_string=filter_string)


def test_a_finished_sweep_is_not_done_again(experiment: Experiment, prepared: Path, undisturbed: Sweep) -> None:
    path = sweep_path(experiment, Workspace(prepared))
    assert [file.name for file in path.parent.iterdir()] == [path.name], (
        "Tune's state of a finished sweep serves nothing"
    )
    before = path.stat().st_mtime_ns
    assert sweep_in(prepared, experiment) == undisturbed
    assert path.stat().st_mtime_ns == before


def test_a_batch_larger_than_the_split_is_refused_before_a_trial(
    experiment: Experiment, prepared: Path, undisturbed: Sweep
) -> None:
    wrong = experiment.replace({"optim.batch_size": 64})
    with pytest.raises(ConfigError, match=r"optim.batch_size must be at most the 12 rows of an epoch"):
        sweep_in(prepared, wrong)
    assert not sweep_path(wrong, Workspace(prepared)).exists()


def kill_tree(driver: subprocess.Popen) -> None:
    """Kill -9 the driver and every process below it, all at the same moment as far as can be."""
    victims = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    for victim in victims:
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    driver.wait()
    psutil.wait_procs(victims, timeout=30)


def wait_for_second_trial(path: Path, driver: subprocess.Popen) -> list[dict]:
    """Until one trial has ended and the next one has reported."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and driver.poll() is None:
        trials = json.loads(path.read_text())["trials"] if path.is_file() else []
        if len(trials) == 2 and trials[0]["status"] == "finished":
            return trials
        time.sleep(0.05)
    raise AssertionError(f"the sweep did not get to its second trial; exit code {driver.poll()}")


def test_a_killed_sweep_ends_as_an_undisturbed_one(
    experiment: Experiment, prepared: Path, undisturbed: Sweep, tmp_path: Path
) -> None:
    root = tmp_path / "workspace"
    for folder in ("datasets", "cache"):
        if (prepared / folder).exists():
            shutil.copytree(prepared / folder, root / folder)
    (tmp_path / "config.toml").write_text(experiment.to_toml(), encoding="utf-8")
    path = sweep_path(experiment, Workspace(root))
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(conical.__file__).parent.parent),
        "RAY_ADDRESS": "local",
    }
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "config.toml"), str(root)],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    ) as driver:
        try:
            before = wait_for_second_trial(path, driver)
        finally:
            kill_tree(driver)
    interrupted = read_sweep(path)
    assert interrupted is not None
    assert not interrupted.is_finished

    finished = sweep_in(root, experiment)
    assert finished.is_finished
    assert len(finished.trials) == NUM_TRIALS
    assert finished.trials[0].run_key == before[0]["run_key"]
    tracker = open_tracker(experiment, Workspace(root))
    assert finished.tracking_id == interrupted.tracking_id
    assert sorted(run.data.tags["conical.key"] for run in child_runs(tracker, finished)) == sorted(
        trial.run_key for trial in finished.trials
    )
    assert tracker.running() == []
    assert [(trial.run_key, trial.value, trial.status) for trial in finished.trials] == [
        (trial.run_key, trial.value, trial.status) for trial in undisturbed.trials
    ]
    assert finished.best.run_key == undisturbed.best.run_key
    assert finished.indistinguishable == undisturbed.indistinguishable

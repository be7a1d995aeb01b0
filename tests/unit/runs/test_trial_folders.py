"""A run's folder is its own: no trial writes there, and no half-trained trial passes for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from conical.config import Experiment
from conical.core.progress import Progress, Told, no_report
from conical.on_ray.sweep_callback import ForwardToBook
from conical.on_ray.train import train
from conical.runs import sweep_log
from conical.runs.finding import scorable_runs
from conical.runs.identity import identify
from conical.runs.log import open_tracker
from conical.runs.sweep_log import SweepBook
from conical.store import RunFolder, Sweep, Workspace, read_sweep
from unit.runs.scored_runs import small_experiment, write_run, write_workspace

METRIC = "val/raw/t2v/R1"


@pytest.fixture
def experiment(small_clip) -> Experiment:
    return small_experiment(
        small_clip,
        "label=CEO",
        "optim.epochs=2",
        "optim.batch_size=4",
        "tune.space={'loss.tau_tv'={uniform=[1.0, 100.0]}}",
    )


@pytest.fixture
def workspace(experiment: Experiment, tmp_path: Path) -> Workspace:
    return write_workspace(experiment, tmp_path / "workspace")


def checkpoint(folder: Path, weights: bytes) -> Path:
    (folder / "best").mkdir(parents=True, exist_ok=True)
    (folder / "best" / "encoder.safetensors").write_bytes(weights)
    return folder


def sweep(experiment: Experiment, workspace: Workspace, key: str, *trials: tuple[int, bytes]) -> Sweep:
    """Trials of the experiment's own point, each of so many epochs and with these weights."""
    path = workspace.experiment(experiment.name) / "sweeps" / key / "sweep.json"
    tracker = open_tracker(experiment, workspace)
    drawn = {"loss.tau_tv": experiment.loss.tau_tv}
    with SweepBook(experiment, workspace, tracker, path=path, known=None, report=no_report) as book:
        for number, (epochs, weights) in enumerate(trials):
            book.start(drawn, number=number)
            for epoch in range(epochs + 1):
                book.result(drawn, {"epoch": float(epoch), METRIC: 10.0 + epoch}, [])
            book.end(drawn, checkpoint=checkpoint(workspace.root / "checkpoint", weights))
    found = read_sweep(path)
    assert found is not None
    return found


def folder_of(experiment: Experiment, workspace: Workspace, record: Sweep) -> RunFolder:
    return RunFolder(workspace.experiment(experiment.name) / "runs" / record.best.run_key)


def test_a_sweep_leaves_a_finished_run_of_the_same_settings_alone(experiment: Experiment, workspace: Workspace) -> None:
    run = write_run(experiment, workspace)
    record, weights = run.read(), run.encoder.read_bytes()
    found = sweep(experiment, workspace, "s1", (2, b"trial"))
    assert (run.read(), run.encoder.read_bytes()) == (record, weights)
    assert folder_of(experiment, workspace, found).encoder.read_bytes() == b"trial"
    assert scorable_runs(workspace, experiment.name, []) == [run]


def test_two_sweeps_with_a_trial_in_common_share_no_folder(experiment: Experiment, workspace: Workspace) -> None:
    first = sweep(experiment, workspace, "s1", (2, b"first"))
    second = sweep(experiment, workspace, "s2", (2, b"second"))
    assert folder_of(experiment, workspace, first).encoder.read_bytes() == b"first"
    assert folder_of(experiment, workspace, second).encoder.read_bytes() == b"second"


def test_settings_drawn_twice_keep_what_the_whole_trial_left(experiment: Experiment, workspace: Workspace) -> None:
    found = sweep(experiment, workspace, "s1", (2, b"whole"), (1, b"stopped"))
    (trial,) = found.trials
    assert (trial.status, trial.epochs, found.is_finished) == ("finished", 2, True)
    assert folder_of(experiment, workspace, found).encoder.read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("metric", "best", "said"),
    [
        ("R1", 1, "2 of 2 trials, best val t2v R@1 5.0"),
        ("R5", 1, "2 of 2 trials, best val t2v R@5 5.0"),
        ("R10", 1, "2 of 2 trials, best val t2v R@10 5.0"),
        ("MedR", 0, "2 of 2 trials, best val t2v MedR 2.0"),
        ("MeanR", 0, "2 of 2 trials, best val t2v MeanR 2.0"),
    ],
)
def test_a_sweep_says_and_keeps_the_best_of_the_metric_that_selects(
    experiment: Experiment, workspace: Workspace, metric: str, best: int, said: str
) -> None:
    name, notes = f"val/raw/t2v/{metric}", []
    experiment = experiment.replace({"select_by": name, "tune.num_trials": 2})
    path = workspace.experiment(experiment.name) / "sweeps" / "s" / "sweep.json"
    tracker = open_tracker(experiment, workspace)
    report = lambda progress: notes.append(progress.note)  # noqa: E731
    with SweepBook(experiment, workspace, tracker, path=path, known=None, report=report) as book:
        for number, (tau, values) in enumerate([(10.0, (4.0, 3.0, 2.0)), (20.0, (5.0, 4.0, 3.0))]):
            book.start({"loss.tau_tv": tau}, number=number)
            for epoch, value in enumerate(values):
                book.result({"loss.tau_tv": tau}, {"epoch": float(epoch), name: value}, [])
            book.end({"loss.tau_tv": tau}, checkpoint=checkpoint(workspace.root / "checkpoint", b"w"))
    found = read_sweep(path)
    assert found is not None
    assert (found.metric, found.best.number, notes[-1]) == (name, best, said)
    # the epoch that the run's own book calls the best
    run = folder_of(experiment, workspace, found).read()
    assert (run.best_epoch, run.val_value) == ((0, 5.0) if best else (2, 2.0))


def test_trials_are_numbered_as_they_were_drawn_whichever_starts_first(
    experiment: Experiment, workspace: Workspace
) -> None:
    experiment = experiment.replace({"tune.num_trials": 3})
    path = workspace.experiment(experiment.name) / "sweeps" / "s" / "sweep.json"
    tracker = open_tracker(experiment, workspace)
    # the fourth draw is the second one again
    started = [("2_x", 20.0), ("1_x", 10.0), ("3_x", 30.0), ("4_x", 20.0)]
    with SweepBook(experiment, workspace, tracker, path=path, known=None, report=no_report):
        for tag, tau in started:
            trial = SimpleNamespace(config={"loss.tau_tv": tau}, experiment_tag=tag)
            ForwardToBook().on_trial_start(iteration=0, trials=[], trial=trial)
    interrupted = read_sweep(path)
    assert interrupted is not None
    taus = [(trial.number, trial.settings["loss.tau_tv"]) for trial in interrupted.trials]
    assert taus == [(0, 10.0), (1, 20.0), (2, 30.0)]
    # an interrupted sweep keeps the numbers that it gave
    with SweepBook(experiment, workspace, tracker, path=path, known=interrupted, report=no_report) as book:
        book.start({"loss.tau_tv": 30.0}, number=7)
        book.start({"loss.tau_tv": 40.0}, number=4)
    again = read_sweep(path)
    assert again is not None
    assert [(one.number, one.settings["loss.tau_tv"]) for one in again.trials][2:] == [(2, 30.0), (4, 40.0)]


def test_a_drawn_mix_is_listed_share_by_share(experiment: Experiment, workspace: Workspace) -> None:
    experiment = experiment.replace({"tune.space": {"mix": {"simplex": ["human", "B"]}}})
    path = workspace.experiment(experiment.name) / "sweeps" / "s" / "sweep.json"
    tracker = open_tracker(experiment, workspace)
    drawn = {"mix~human": 0.25, "mix~B": 0.25}
    with SweepBook(experiment, workspace, tracker, path=path, known=None, report=no_report) as book:
        book.start(drawn, number=0)
        book.result(drawn, {"epoch": 0.0, METRIC: 10.0}, [])
        book.end(drawn, checkpoint=checkpoint(workspace.root / "checkpoint", b"w"))
    found = read_sweep(path)
    assert found is not None
    assert found.trials[0].settings == {"mix.human": 0.5, "mix.B": 0.5}
    assert folder_of(experiment, workspace, found).read().config["mix"] == {"human": 0.5, "B": 0.5}


def test_training_does_not_take_a_stopped_trial_for_the_run(experiment: Experiment, workspace: Workspace) -> None:
    as_loaded = experiment.replace({"optim.epochs": 0})
    run = write_run(as_loaded, workspace)
    run.write(dataclasses.replace(run.read(), status="stopped"))
    run.encoder.write_bytes(b"half")
    assert train(as_loaded, workspace, open_tracker(as_loaded, workspace)) == run
    assert run.read().status == "finished"
    assert run.encoder.read_bytes() != b"half"


def test_the_metric_that_chooses_the_epoch_is_part_of_the_key(experiment: Experiment, workspace: Workspace) -> None:
    by_text, by_video = (
        identify(experiment.replace({"select_by": f"val/raw/{direction}/R1"}), workspace).key
        for direction in ("t2v", "v2t")
    )
    assert by_text != by_video


def test_a_sweep_tells_parts_of_epochs_and_leaves_out_of_the_total_what_its_scheduler_skips(
    experiment: Experiment, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three trials of four epochs; the first is stopped after one, so nine epochs are all there is to do."""
    clock = [0.0]
    monkeypatch.setattr(sweep_log.time, "monotonic", lambda: clock[0])
    experiment = experiment.replace({"optim.epochs": 4, "tune.num_trials": 3})
    path = workspace.experiment(experiment.name) / "sweeps" / "s" / "sweep.json"
    told: list[tuple[float, float]] = []
    said: list[dict[str, object]] = []

    def take() -> list[dict[str, object]]:
        taken, said[:] = list(said), []
        return taken

    def report(step: Told) -> None:
        assert isinstance(step, Progress)
        told.append((step.done, step.total))

    tracker = open_tracker(experiment, workspace)
    book = SweepBook(experiment, workspace, tracker, path=path, known=None, report=report, take_steps=take)
    first, second, third = ({"loss.tau_tv": tau} for tau in (10.0, 20.0, 30.0))
    with book:
        book.start(first, number=0)
        book.result(first, {"epoch": 0.0, METRIC: 1.0}, [])
        said.append({"drawn": first, "steps_done": 5, "total_steps": 40})
        clock[0] = 10.0
        book.poll()
        assert told[-1] == (0.5, 12)
        said.append({"drawn": first, "steps_done": 10, "total_steps": 40})
        book.poll()  # too soon after the last
        assert told[-1] == (0.5, 12)
        clock[0] = 20.0
        book.poll()
        assert told[-1] == (0.99, 12)  # val is not scored yet
        book.result(first, {"epoch": 1.0, METRIC: 2.0}, [])
        book.end(first, checkpoint=checkpoint(workspace.root / "checkpoint", b"w"))
        assert told[-1] == (1, 9)
        for number, drawn in enumerate((second, third), start=1):
            book.start(drawn, number=number)
            for epoch in range(5):
                book.result(drawn, {"epoch": float(epoch), METRIC: 2.0}, [])
            book.end(drawn, checkpoint=checkpoint(workspace.root / "checkpoint", b"w"))
    assert told[-1] == (9, 9)
    # whole before the last trial ends would leave a last line behind, and then another one
    assert [done for done, total in told if done == total] == [9] * told.count((9, 9))
    assert told.count((9, 9)) <= 2, "as the last trial ends, and as the sweep does"
    shares = [done / total for done, total in told]
    assert shares == sorted(shares)

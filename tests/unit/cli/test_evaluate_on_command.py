"""`conical evaluate RUN --on FOLDER`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conical.cli import common as opening
from conical.cli import main
from conical.runs.other_dataset import OtherDataset
from conical.store import Workspace, list_runs
from held_out_folder import store_frames, write_held_out
from unit.runs.scored_runs import small_experiment, write_run, write_workspace


@pytest.fixture(scope="module")
def made(small_clip, tmp_path_factory) -> tuple[Workspace, Path, Path]:
    """A workspace with a run, a folder of images whose frames are stored, and the config."""
    root = tmp_path_factory.mktemp("commands")
    experiment = small_experiment(small_clip, "label=zero-shot")
    workspace = write_workspace(experiment, root / "workspace")
    write_run(experiment, workspace)
    folder = write_held_out(root / "mine")
    store_frames(OtherDataset(root=folder, num_frames=4).experiment(experiment), workspace)
    (root / "config.toml").write_text(experiment.to_toml(), encoding="utf-8")
    return workspace, folder, root / "config.toml"


@pytest.fixture
def conical(made, monkeypatch, capsys):
    """Types a command; gives its exit code and what it printed."""
    workspace, _, config = made
    monkeypatch.setenv("CONICAL_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(opening, "divert_chatter", lambda _: None)  # it would take this process's own stderr

    def type_in(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main.run([*words, "--config", str(config)])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return type_in


def test_a_table_names_the_dataset_and_what_is_odd_about_it(conical, made) -> None:
    workspace, folder, _ = made
    code, out, err = conical("evaluate", "zero-shot", "--on", str(folder), "--num-frames", "4", "--family", "dsl")
    assert code == 0, err
    assert "test of frames-" in out
    assert "captions.json is read without splits: all 4 videos are test" in out
    assert "short: 1 clip has fewer than 4 frames; the last is repeated" in out
    assert "raw.dsl" in out
    (run,) = list_runs(workspace.experiment("demo"))
    assert run.evaluation_names() == (), "no table of the run's own dataset may hold it"


def test_json_is_all_that_standard_output_gets(conical, made) -> None:
    code, out, err = conical("evaluate", "zero-shot", "--on", str(made[1]), "--num-frames", "4", "--json")
    assert code == 0, err
    (entry,) = json.loads(out)
    assert entry["scored"] == "test/raw"
    assert (entry["label"], entry["num_frames"], entry["num_queries"], entry["num_gallery"]) == ("zero-shot", 4, 6, 4)
    assert entry["metrics"]["t2v/R1"].keys() >= {"value", "low", "high"}
    assert Path(entry["stored"]).is_file()
    assert "short: 1 clip has fewer than 4 frames" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("zero-shot", "--num-frames", "4", "--json"), "--num-frames, --json would change nothing without --on FOLDER"),
        (("--on", "."), "--on scores the runs that are named: give at least one RUN"),
        (("zero-shot", "--on", ".", "--dry-run"), "--dry-run does not look at another dataset"),
        (("zero-shot", "--on", "/no/such"), "there is no folder /no/such: give the root of a dataset"),
        (("zero-shot", "--on", ".", "--num-frames", "0"), "num_frames must be >= 1, got 0"),
        (("zero-shot", "--on", ".", "--reader", "frame"), "'frame'"),
        (("zero-shot", "--on", ".", "--splits", "tests"), "evaluate.splits must be one of train, val, test"),
        (("zero-shot", "--on", ".", "--protocol", "paired-supplement"), "scored under raw only, got paired-supplement"),
    ],
)
def test_a_mistake_is_one_line(conical, monkeypatch, tmp_path, words: tuple[str, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = conical("evaluate", *words)
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err

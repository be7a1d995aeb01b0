"""Runs, sweeps and the workspace on disk: whole or absent, and one line where they cannot be read."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from conical.core.errors import StoreError
from conical.core.records import SplitCount
from conical.metrics import EvaluationName, MetricValue, Ranking
from conical.store import (
    EvaluationRecord,
    RankedQueries,
    RunFolder,
    RunRecord,
    Sweep,
    TestLook,
    Trial,
    Workspace,
    list_runs,
    read_sweep,
    write_sweep,
)


def run_record(**changes: object) -> RunRecord:
    fields = {
        "key": "abc",
        "label": "CEO, 1 human",
        "status": "running",
        "seed": 3,
        "tracking_id": "t1",
        "config": {"loss": {"tau_tv": 50.0}},
        "data_hashes": {"frames": "f"},
        "environment": {"torch": "2"},
    }
    return RunRecord(**{**fields, **changes})


def ranking(*better: int) -> Ranking:
    ones = np.ones(len(better), np.int64)
    return Ranking(better=np.array(better), tied=ones, positives_tied=ones, num_gallery=9)


def evaluation(split: str = "test", **changes: object) -> EvaluationRecord:
    record = EvaluationRecord(
        split=split,
        protocol="raw",
        metrics={"t2v/R1": MetricValue(50.0, 0.0, 100.0), "t2v/MeanR": MetricValue(1.5)},
        num_queries=2,
        num_gallery=2,
        has_ties=False,
        ranks_t2v=np.array([1.0, 2.5]),
        ranks_v2t=np.array([1.0, 2.0]),
        similarity=np.array([[0.5, -0.25], [0.125, 0.0]], np.float32),
        video_ids=("v0", "v1"),
        texts=("ein Hund läuft", "a cat"),
        text_video=np.array([0, 1]),
        rankings={"t2v": ranking(0, 1), "v2t": ranking(0, 2), "v2t_any": ranking(3, 2)},
        hashes={"queries": "q", "gallery": "g"},
        settings={"fusion": {"weight": 0.5, "chosen_on": "val"}},
        completeness={"train": SplitCount(expected=4, found=4), "test": SplitCount(expected=3, found=2)},
        depends_on={"settings": {"dsl_tau": 5.0}, "data": {"files of test": "h"}},
        note="supplements weigh 0.5",
        uses_target=True,
    )
    return dataclasses.replace(record, **changes)


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, Ranking):
        return all(same(getattr(a, item.name), getattr(b, item.name)) for item in dataclasses.fields(Ranking))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def trial(number: int, value: float | None, status: str = "finished") -> Trial:
    return Trial(number=number, run_key=f"k{number}", settings={"seed": 1.0}, value=value, status=status, epochs=2)


def sweep(*trials: Trial, is_finished: bool = True, metric: str = "val/raw/t2v/R1") -> Sweep:
    return Sweep(key="s", metric=metric, tracking_id="t", is_finished=is_finished, trials=trials)


# ---- runs


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "abc")
    assert not folder.exists
    record = run_record(best_epoch=2, val_value=12.5, seconds=3.0)
    folder.write(record)
    assert folder.exists
    assert folder.read() == record
    folder.write(dataclasses.replace(record, status="finished"))
    assert folder.read().status == "finished"
    assert [path.name for path in folder.path.iterdir()] == ["run.json"], "no temporary file stays"


@pytest.mark.parametrize(
    ("status", "has_encoder", "is_finished"),
    [
        ("finished", True, True),
        ("stopped", True, True),
        ("running", True, False),
        ("failed", True, False),
        ("finished", False, False),
    ],
)
def test_a_run_is_finished_when_it_ended_well_and_its_encoder_is_there(
    tmp_path: Path, status: str, has_encoder: bool, is_finished: bool
) -> None:
    folder = RunFolder(tmp_path)
    folder.write(run_record(status=status))
    if has_encoder:
        folder.encoder.touch()
    assert folder.is_finished is is_finished


def test_an_unknown_status_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="paused"):
        run_record(status="paused")


@pytest.mark.parametrize("content", ["{", "[]", '{"key": "x"}', '{"unknown": 1}', "\x00"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(
        StoreError, match=r"run record .*run.json cannot be read \(.*\): delete the folder and run again"
    ):
        RunFolder(tmp_path).read()


def test_an_absent_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"run record .*run.json cannot be read"):
        RunFolder(tmp_path / "gone").read()


def test_a_curve_grows_by_replacement(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_curve() == []
    rows = [{"epoch": 0.0, "val/raw/t2v/R1": 1.0}, {"epoch": 1.0, "val/raw/t2v/R1": 2.0}]
    folder.write_curve(rows[:1])
    folder.write_curve(rows)
    assert folder.read_curve() == rows


def test_looks_at_test_are_listed_and_counted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    record = run_record().with_look(TestLook(name="test/raw.dsl", time="2026-01-01T00:00:00+00:00"))
    folder.write(record.with_look(TestLook(name="test/raw", time="2026-01-02T00:00:00+00:00", is_forced=True)))
    read = folder.read()
    assert read.test_looks == 2
    assert [(look.name, look.is_forced) for look in read.looks] == [("test/raw.dsl", False), ("test/raw", True)]


@pytest.mark.parametrize("name", [{}, {"family": "dsl"}, {"subset": "leak-free"}, {"protocol": "captioned-gallery"}])
def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path, name: dict[str, str]) -> None:
    folder, written = RunFolder(tmp_path), evaluation(**name)
    assert folder.read_evaluation("test", **name) is None
    folder.write_evaluation(written)
    read = folder.read_evaluation("test", **name)
    assert read is not None
    for item in dataclasses.fields(EvaluationRecord):
        assert same(getattr(written, item.name), getattr(read, item.name)), item.name
    assert folder.read_evaluation("val", **name) is None
    assert "similarity" not in repr(read)
    assert read.name == EvaluationName(split="test", **name)


def test_each_protocol_family_and_subset_has_files_of_its_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    names = [{}, {"family": "dsl"}, {"subset": "leak-free"}, {"subset": "leak-free", "family": "dsl"}]
    for number, name in enumerate(names):
        folder.write_evaluation(evaluation(num_queries=number, **name))
    assert [folder.read_evaluation("test", **name).num_queries for name in names] == [0, 1, 2, 3]
    assert [str(name) for name in folder.evaluation_names()] == [
        "test-leak-free/raw",
        "test-leak-free/raw.dsl",
        "test/raw",
        "test/raw.dsl",
    ]


@pytest.mark.parametrize("name", ["settings", "depends_on", "completeness", "note", "uses_target"])
def test_an_evaluation_that_lacks_a_field_is_refused(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_evaluation(evaluation())
    path = folder.evaluation_path(EvaluationName(split="test"))
    plain = json.loads(path.read_text())
    del plain[name]
    path.write_text(json.dumps(plain))
    with pytest.raises(StoreError, match=rf"cannot be read \('{name}'\): score the run again"):
        folder.read_evaluation("test")


def test_arrays_without_their_json_are_no_evaluation(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_evaluation(evaluation())
    # the JSON is written last: a process that was killed before it leaves the arrays alone
    path = folder.evaluation_path(EvaluationName(split="test"))
    path.unlink()
    assert path.with_suffix(".npz").is_file()
    assert folder.read_evaluation("test", "raw") is None


@pytest.mark.parametrize(("suffix", "content"), [(".json", "{"), (".json", '{"split": 1}'), (".npz", "PK\x03\x04")])
def test_a_damaged_evaluation_is_named(tmp_path: Path, suffix: str, content: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_evaluation(evaluation())
    folder.evaluation_path(EvaluationName(split="test")).with_suffix(suffix).write_text(content)
    with pytest.raises(StoreError, match=r"evaluation .*test-raw.json cannot be read \(.*\): score the run again"):
        folder.read_evaluation("test")


def test_what_is_missing_is_said_in_words() -> None:
    whole = SplitCount(expected=9000, found=9000)
    record = evaluation(completeness={"train": whole, "test": SplitCount(expected=1000, found=879)})
    assert record.is_partial
    assert record.partial_note == "partial: 879 of 1,000 test videos"
    other = evaluation(completeness={"train": SplitCount(expected=602, found=600)})
    assert other.is_partial
    assert other.partial_note == "600 of 602 train videos had frames"
    complete = evaluation(completeness={"train": whole})
    assert (complete.is_partial, complete.partial_note) == (False, "")


def test_ranks_on_val_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_val_ranking() is None
    written = RankedQueries(ranking=ranking(0, 5), groups=np.array([3, 4]))
    written.write(folder.val_ranking)
    read = folder.read_val_ranking()
    assert read is not None
    assert same(read.ranking, written.ranking)
    assert same(read.groups, written.groups)


def test_damaged_ranks_on_val_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.val_ranking.write_bytes(b"PK\x03\x04")
    with pytest.raises(StoreError, match=r"ranks .*val_ranking.npz cannot be read \(.*\): delete the run's folder"):
        folder.read_val_ranking()


def test_a_write_that_fails_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write(run_record())

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        folder.write(run_record(status="finished"))
    assert folder.read().status == "running"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_runs_are_listed_by_key_and_only_with_a_record(tmp_path: Path) -> None:
    for key in ("b", "a"):
        RunFolder(tmp_path / "runs" / key).write(run_record(key=key))
    (tmp_path / "runs" / "c").mkdir()
    assert [run.path.name for run in list_runs(tmp_path)] == ["a", "b"]
    assert list_runs(tmp_path / "gone") == []


# ---- sweeps


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "s" / "sweep.json"
    assert read_sweep(path) is None
    record = sweep(trial(0, 4.0), trial(1, None, "failed"), is_finished=False)
    write_sweep(path, record)
    assert read_sweep(path) == record
    tested = dataclasses.replace(record, indistinguishable=(1,), indistinguishable_test="paired")
    write_sweep(path, tested)
    assert read_sweep(path) == tested
    write_sweep(path, record)
    assert json.loads(path.read_text())["trials"][0]["value"] == 4.0


def test_the_highest_value_wins_and_of_equals_the_first() -> None:
    assert sweep(trial(0, 4.0), trial(1, 9.0), trial(2, 9.0, "stopped")).best.number == 1
    assert sweep(trial(0, 4.0), trial(1, 9.0, "stopped")).best.number == 1


@pytest.mark.parametrize(("metric", "best"), [("R1", 1), ("R5", 1), ("R10", 1), ("MedR", 2), ("MeanR", 2)])
def test_the_highest_recall_or_the_lowest_rank_wins(metric: str, best: int) -> None:
    trials = [trial(number, value) for number, value in enumerate((3.0, 5.0, 1.0, 5.0, 1.0))]
    found = dataclasses.replace(sweep(*trials), metric=f"val/raw/t2v/{metric}").best
    assert (found.number, found.value) == (best, trials[best].value)


def test_a_trial_without_an_encoder_does_not_win() -> None:
    assert sweep(trial(0, 4.0), trial(1, 9.0, "failed"), trial(2, 9.0, "running"), trial(3, None)).best.number == 0


def test_the_lowest_value_wins_where_the_metric_is_a_rank() -> None:
    ranked = sweep(trial(0, 4.0), trial(1, 2.0), trial(2, 2.0), trial(3, 1.0, "failed"), metric="val/raw/t2v/MeanR")
    assert [one.number for one in ranked.scored] == [3, 1, 2, 0]
    assert ranked.best.number == 1


def test_the_trials_with_a_value_are_ordered_best_first() -> None:
    ranked = sweep(trial(0, 4.0), trial(1, None), trial(2, 9.0), trial(3, 4.0, "failed"))
    assert [one.number for one in ranked.scored] == [2, 0, 3]
    assert ranked.best_or_none is ranked.trials[2]
    assert sweep(trial(0, None)).best_or_none is None


def test_a_trial_refuses_unknown_states_and_values() -> None:
    with pytest.raises(ValueError, match="status must be one of running, finished, stopped, failed; got 'done'"):
        trial(0, 1.0, "done")
    with pytest.raises(ValueError, match="value of trial 3 must be finite or None, got nan"):
        trial(3, float("nan"))


@pytest.mark.parametrize("content", ["{", "[]", '{"key": "x"}', '{"trials": 3}'])
def test_a_damaged_sweep_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(
        StoreError, match=r"sweep record .*sweep.json cannot be read \(.*\): delete its folder and tune"
    ):
        read_sweep(tmp_path / "sweep.json")


def test_a_sweep_without_a_value_is_named() -> None:
    with pytest.raises(StoreError, match=r"no trial of sweep s has a value: see logs/ray.log"):
        assert sweep(trial(0, None), trial(1, 9.0, "failed")).best


# ---- workspace


def test_the_workspace_is_the_folder_given_else_the_variable_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONICAL_WORKSPACE", raising=False)
    assert Workspace.open().root == tmp_path / "workspace"
    monkeypatch.setenv("CONICAL_WORKSPACE", str(tmp_path / "set"))
    assert Workspace.open().root == tmp_path / "set"
    assert Workspace.open(tmp_path / "given").root == tmp_path / "given"
    monkeypatch.setenv("CONICAL_WORKSPACE", "relative")
    assert Workspace.open().root == tmp_path / "relative"
    assert list((tmp_path / "given").iterdir()) == [], "the trial file is gone"


def test_inside_the_upload_of_a_ray_job_the_default_outlives_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = tmp_path / "_ray_pkg_0123" / "deeper"
    upload.mkdir(parents=True)
    monkeypatch.chdir(upload)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CONICAL_WORKSPACE", raising=False)
    assert Workspace.open().root == tmp_path / "home" / "conical-workspace"


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_workspace_that_cannot_be_written_is_one_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError, match=r"workspace .*file.* cannot be written \(.*\): set CONICAL_WORKSPACE to a folder"
    ):
        Workspace.open(tmp_path / path)


def test_everything_lies_inside_the_workspace(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    paths = [
        workspace.manifest("scenes"),
        workspace.frames("scenes", "r"),
        workspace.captions("scenes"),
        workspace.experiment("demo"),
        workspace.cache,
        workspace.logs,
        workspace.artifacts,
        Path(workspace.tracking_uri.removeprefix("sqlite:///")),
    ]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_an_encoder_is_taken_with_its_head_and_without_one_of_before(tmp_path: Path) -> None:
    best, run = RunFolder(tmp_path / "best"), RunFolder(tmp_path / "run")
    best.path.mkdir()
    best.encoder.write_bytes(b"clip")
    best.head.write_bytes(b"head")
    run.take_encoder(best)
    assert (run.encoder.read_bytes(), run.head.read_bytes()) == (b"clip", b"head")
    best.head.unlink()
    run.take_encoder(best)
    assert [path.name for path in run.path.iterdir()] == ["encoder.safetensors"]

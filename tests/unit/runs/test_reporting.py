"""A report gathers what was stored: all runs of an experiment, or one run."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from conical.core.errors import DataError, ProtocolError
from conical.core.records import SplitCount
from conical.metrics import k_occurrence
from conical.reports import group_rows, summary_sentences, write_report
from conical.runs.comparison import refuse_difference
from conical.runs.report.builder import build_report, build_run_report, comparable_hash, report_on
from conical.store import EvaluationRecord, Sweep, Trial, Workspace, write_sweep
from unit.runs.stored_runs import evaluation, experiment, scored_run, write_run, write_workspace

MIXED = "mix={human=0.5, A=0.5, B=0.0}"
BASE = 'loss.name="info_nce"'


def add_sweep(workspace: Workspace, *keys: str, winner: str, **changes: object) -> None:
    trials = tuple(
        Trial(
            number=number,
            run_key=key,
            settings={"loss.tau_tv": 10.0 + number},
            value=20.0 if key == winner else 10.0,
            status="finished",
            epochs=2,
        )
        for number, key in enumerate(keys)
    )
    record = Sweep(key="s", metric="val/raw/t2v/R1", tracking_id="t", is_finished=True, trials=trials)
    path = workspace.experiment("demo") / "sweeps" / "s" / "sweep.json"
    path.parent.mkdir(parents=True)
    write_sweep(path, dataclasses.replace(record, **changes))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    found = write_workspace(tmp_path_factory.mktemp("reporting"))
    scored_run(found, "InfoNCE", BASE, key="aaa", skill=0.5)
    scored_run(found, "CEO", key="bbb", skill=1.5, looks=3)
    partial = dataclasses.replace(
        evaluation("test", skill=2.0), completeness={"test": SplitCount(expected=13, found=12)}
    )
    leak_free = dataclasses.replace(evaluation("test", skill=2.0), subset="leak-free", family="dsl")
    trial = experiment("label=trial 1", "loss.tau_tv=11.0")
    write_run(found, trial, evaluation("val", skill=2.0), partial, leak_free, key="ccc", val=30.0)
    scored_run(found, "trial 0", "loss.tau_tv=10.0", key="ddd")
    add_sweep(found, "ddd", "ccc", winner="ccc", indistinguishable=(0,), indistinguishable_test="paired on val")
    return found


@pytest.fixture(scope="module")
def data(workspace: Workspace):
    return build_report(workspace, "demo")


def test_trials_that_lost_are_not_shown_and_the_winner_is_named(data) -> None:
    assert list(dict.fromkeys(row.label for row in data.rows)) == ["InfoNCE", "CEO", "tuned CEO (trial 1)"]
    assert "The tuned run is trial 1 of the sweep" in data.notes[1]
    assert (data.sweep.best.number, data.sweep.indistinguishable) == (1, (0,))
    assert any(
        "Indistinguishable from trial 1: 1 of the other 1 scored trials, number 0" in s for s in summary_sentences(data)
    )


def test_every_evaluation_has_a_table_of_its_own_the_standard_first(data) -> None:
    tables = [(rows[0].split, rows[0].protocol, len(rows)) for rows in group_rows(data.rows)]
    assert tables == [("val", "raw", 3), ("test", "raw", 3), ("test-leak-free", "raw.dsl", 1)]


def test_marks_of_partial_data_and_further_looks_are_in_the_rows(data) -> None:
    notes = {row.label: row.note for row in data.rows if (row.split, row.protocol) == ("test", "raw")}
    assert notes == {
        "InfoNCE": "",
        "CEO": "test was looked at 3 times",
        "tuned CEO (trial 1)": "partial: 12 of 13 test videos",
    }
    assert "test was looked at more than once for: CEO (3)" in data.notes[0]


def test_ranks_and_hubs_of_both_directions_come_from_the_stored_matrix(data, workspace: Workspace) -> None:
    assert [(sample.label, sample.direction) for sample in data.ranks[:3]] == [
        ("InfoNCE", "t2v"),
        ("CEO", "t2v"),
        ("tuned CEO (trial 1)", "t2v"),
    ]
    stored = evaluation("test", skill=0.5)
    texts, videos = (next(hub for hub in data.hubs if hub.direction == direction) for direction in ("t2v", "v2t"))
    np.testing.assert_allclose(texts.counts, k_occurrence(stored.similarity, k=10))
    np.testing.assert_allclose(videos.counts, k_occurrence(stored.similarity.T, k=10))
    assert (texts.num_queries, videos.num_queries) == (24, 12)


def test_methods_are_compared_and_browsed_in_pairs(data) -> None:
    assert [(c.label_a, c.label_b) for c in data.comparisons] == [
        ("CEO", "InfoNCE"),
        ("tuned CEO (trial 1)", "InfoNCE"),
        ("tuned CEO (trial 1)", "CEO"),
    ]
    shown = [(view.label, view.against) for view in data.browser.views]
    assert shown[-1] == ("tuned CEO (trial 1)", None)
    assert len(shown) == 2 * (3 + 1)


def test_a_run_is_reported_alone_by_key_label_or_mlflow_id(workspace: Workspace) -> None:
    for name in ("bbb", "CEO", "mlflow-bbb"):
        data, folder = report_on(workspace, name, "demo")
        assert {row.label for row in data.rows} == {"CEO"}
        assert folder == workspace.experiment("demo") / "runs" / "bbb" / "report"
    assert (data.sweep, data.comparisons, data.ablations) == (None, (), ())
    assert [view.against for view in data.browser.views] == [None, None]
    assert "demo, CEO" in data.title


def test_a_trial_is_reported_with_its_sweep(workspace: Workspace) -> None:
    won, lost = (build_run_report(workspace, "demo", name) for name in ("ccc", "ddd"))
    assert {row.label for row in won.rows} == {"tuned CEO (trial 1)"}
    assert {row.label for row in lost.rows} == {"trial 0"}
    assert len(lost.sweep.trials) == 2


def test_an_experiment_is_meant_before_a_run(workspace: Workspace) -> None:
    data, folder = report_on(workspace, "demo", "other")
    assert len({row.label for row in data.rows}) == 3
    assert folder == workspace.experiment("demo") / "report"


def test_names_that_fit_nothing_and_runs_without_scores_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run 'nix' fits no run of .*: choose one of demo/aaa \(InfoNCE\)"):
        report_on(workspace, "nix", "demo")
    empty = Workspace.open(tmp_path)
    with pytest.raises(DataError, match=r"'demo' has no scored run in .*: run train, then evaluate"):
        report_on(empty, "demo", "demo")
    write_run(empty, experiment(), key="aaa")
    with pytest.raises(DataError, match=r"'demo' has no scored run in .*: run train, then evaluate"):
        build_report(empty, "demo")


def test_what_cannot_be_compared_or_shown_is_said(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path)
    scored_run(workspace, "InfoNCE", BASE, key="a")
    other = [evaluation("val", skill=1.0), evaluation("test", skill=1.0, queries="other")]
    write_run(workspace, experiment("label=CEO + A", MIXED), *other, key="b", val=50.0)
    data = build_report(workspace, "demo")
    assert data.comparisons == ()
    assert any(
        note.startswith("Not compared, as they share no seed or were not scored alike: CEO + A against InfoNCE.")
        for note in data.notes
    )
    assert any("The supplements that CEO + A was trained on are not in the ledger" in note for note in data.notes)
    page = write_report(data, tmp_path / "report").page.read_text(encoding="utf-8")
    assert "Not compared" in page


def test_single_captions_and_the_commit_of_the_training_are_in_the_rows(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    folder = scored_run(workspace, "CEO", key="a")
    folder.write(dataclasses.replace(folder.read(), environment={"device": "cpu", "commit": "77ab03d"}))
    (found, *_) = build_report(workspace, "demo").rows
    stored = evaluation("val", skill=1.0).metrics["v2t_any/R1"]
    assert found.metrics["v2t_any/R1"].value == stored.value
    assert found.trained_commit == "77ab03d"


def changed(**changes: object) -> EvaluationRecord:
    """An evaluation of family dsl."""
    record = evaluation("test", skill=1.0)
    return dataclasses.replace(record, **{"family": "dsl", "settings": {"dsl": {"tau": 100.0}}, **changes})


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({}, True),
        ({"hashes": {"queries": "other", "gallery": "g"}}, False),
        ({"hashes": {"queries": "q", "gallery": "other"}}, False),
        ({"hashes": {"queries": "q", "gallery": "g", "bank": "other"}}, False),
        ({"settings": {"dsl": {"tau": 50.0}}}, False),
        # how a method fuses its supplements, and which they are, is what is compared
        ({"hashes": {"queries": "q", "gallery": "g", "supplements": "other"}}, True),
        ({"settings": {"dsl": {"tau": 100.0}, "fusion": {"weight": 0.3}}}, True),
    ],
)
def test_a_table_ranks_exactly_what_compare_accepts(changes: dict[str, object], is_same: bool) -> None:
    records = [changed(), changed(**changes)]
    assert (comparable_hash(records[0]) == comparable_hash(records[1])) is is_same
    with nullcontext() if is_same else pytest.raises(ProtocolError, match="the runs were scored with different"):
        refuse_difference(records)


def test_runs_scored_on_other_queries_of_the_same_number_stand_in_another_table(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    write_run(workspace, experiment("label=one"), evaluation("val", skill=1.0), key="a")
    write_run(workspace, experiment("label=two"), evaluation("val", skill=2.0, queries="other"), key="b")
    rows = build_report(workspace, "demo").rows
    assert [[row.label for row in group] for group in group_rows(rows)] == [["one"], ["two"]]


def test_numbers_are_reported_where_the_frames_have_gone(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    scored_run(workspace, "InfoNCE", BASE, key="a")
    scored_run(workspace, "CEO", key="b")
    data = build_report(workspace, "demo")
    assert (data.browser, len(data.comparisons)) == (None, 1)
    assert any(
        note.startswith("Single queries are not shown: dataset 'scenes' has no manifest") for note in data.notes
    ), data.notes


def test_a_run_made_again_after_an_update_of_the_code_is_reported_beside_the_older_one(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path)
    scored_run(workspace, "CEO", key="0" * 16)
    scored_run(workspace, "CEO", key="1" * 16)
    data = build_report(workspace, "demo")
    write_report(data, tmp_path / "report")
    assert {row.label for row in data.rows} == {"CEO", "CEO (00000000)"}
    assert any("older ones have a key: CEO (00000000)." in note for note in data.notes)

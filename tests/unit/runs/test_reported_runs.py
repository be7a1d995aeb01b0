"""Which runs a report shows, what it calls them, which it compares."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conical.runs.report.methods import (
    are_comparable,
    best_on_val,
    method_pairs,
    naming_notes,
    reported_runs,
    same_seed,
)
from conical.store import EvaluationRecord, Workspace
from unit.runs.stored_runs import evaluation, experiment, scored_run, write_run

MIXED = "mix={human=0.5, A=0.5, B=0.0}"
TEST = {"split": "test", "protocol": "raw"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def test_seeds_share_a_method_and_have_labels_of_their_own(workspace: Workspace) -> None:
    runs = reported_runs(
        [scored_run(workspace, "CEO", f"seed={seed}", key=f"k{seed}") for seed in (1, 0)]
        + [scored_run(workspace, "zero-shot", "optim.epochs=0", key="z"), scored_run(workspace, "trial 3", key="w")],
        winner := scored_run(workspace, "trial 3", key="w"),
    )
    assert [run.label for run in runs] == ["zero-shot", "CEO, seed 1", "CEO, seed 0", "tuned CEO (trial 3)"]
    assert [run.method for run in runs] == ["zero-shot", "CEO", "CEO", "tuned CEO (trial 3)"]
    assert runs[3].folder == winner
    assert sorted(runs[0].evaluations) == ["test/raw", "val/raw"]


@pytest.mark.parametrize(("metric", "best"), [("R1", "b"), ("R5", "b"), ("R10", "b"), ("MedR", "c"), ("MeanR", "c")])
def test_the_best_run_on_val_has_the_highest_recall_or_the_lowest_rank(
    workspace: Workspace, metric: str, best: str
) -> None:
    chosen = f"select_by=val/raw/t2v/{metric}"
    values = {"a": 3.0, "b": 5.0, "c": 1.0, "d": 5.0, "e": 1.0}
    folders = [scored_run(workspace, key, chosen, key=key, val=value) for key, value in values.items()]
    # of another metric, which the others cannot be compared with, and without a value
    other = "select_by=val/raw/v2t/R1" if metric == "R1" else "select_by=val/raw/t2v/R1"
    folders += [scored_run(workspace, "x", other, key="x", val=0.5), scored_run(workspace, "y", other, key="y", val=99)]
    folders += [scored_run(workspace, "z", chosen, "optim.epochs=0", key="z", val=None)]
    found = best_on_val(reported_runs(folders, None))
    assert found is not None
    assert found.label == best
    assert best_on_val(()) is None


def test_each_method_meets_the_baseline_and_supplements_meet_ceo_without(workspace: Workspace) -> None:
    runs = reported_runs(
        [
            scored_run(workspace, "zero-shot", "optim.epochs=0", key="z"),
            scored_run(workspace, "InfoNCE", 'loss.name="info_nce"', key="i"),
            scored_run(workspace, "CEO", key="c"),
            scored_run(workspace, "CEO + A", MIXED, key="m"),
        ],
        None,
    )
    pairs = method_pairs(runs, **TEST)
    assert [(a[0].label, b[0].label) for a, b in pairs.compared] == [
        ("CEO", "InfoNCE"),
        ("CEO + A", "InfoNCE"),
        ("CEO + A", "CEO"),
    ]
    assert pairs.left_out == ()


def test_what_was_not_scored_alike_is_left_out_by_name(workspace: Workspace) -> None:
    other_queries = evaluation("test", skill=1.0, queries="other")
    old = evaluation("test", skill=1.0)
    old.rankings.clear()
    runs = reported_runs(
        [
            scored_run(workspace, "InfoNCE", 'loss.name="info_nce"', key="i"),
            write_run(workspace, experiment("label=other queries"), other_queries, key="a"),
            write_run(workspace, experiment("label=old", MIXED), old, key="b"),
            scored_run(workspace, "other seed", MIXED, "seed=7", key="c"),
            write_run(workspace, experiment("label=val only"), evaluation("val", skill=1.0), key="d"),
        ],
        None,
    )
    pairs = method_pairs(runs, **TEST)
    assert pairs.compared == ()
    assert set(pairs.left_out) == {
        ("other queries", "InfoNCE"),
        ("old", "InfoNCE"),
        ("other seed", "InfoNCE"),
        ("old", "other queries"),
        ("other seed", "other queries"),
    }


def test_the_lowest_common_seed_is_shown(workspace: Workspace) -> None:
    runs = reported_runs(
        [
            scored_run(workspace, label, f"seed={seed}", key=f"{label}{seed}")
            for label, seed in (("a", 5), ("a", 2), ("a", 1), ("b", 2), ("b", 5))
        ],
        None,
    )
    a, b = [run for run in runs if run.method == "a"], [run for run in runs if run.method == "b"]
    assert are_comparable(a, b, **TEST)
    assert [run.label for run in same_seed(a, b)] == ["a, seed 2", "b, seed 2"]


@pytest.mark.parametrize(
    "other", ["loss.tau_tv=90.0", "optim.learning_rate=1e-5", "augment.flip_probability=0.0", "optim.batch_size=10"]
)
def test_runs_of_one_label_are_seeds_only_if_nothing_but_the_seed_differs(workspace: Workspace, other: str) -> None:
    made = [
        scored_run(workspace, "CEO", other, "seed=0", key="aaaaaaaa00"),
        scored_run(workspace, "CEO", other, "seed=1", key="bbbbbbbb00"),
        scored_run(workspace, "CEO", "seed=1", key="cccccccc00"),
        scored_run(workspace, "CEO", "seed=2", key="dddddddd00"),
    ]
    named = {run.record.key[0]: (run.method, run.label, run.is_older) for run in reported_runs(made, None)}
    assert named == {
        "a": ("CEO (bbbbbbbb)", "CEO (bbbbbbbb), seed 0", True),
        "b": ("CEO (bbbbbbbb)", "CEO (bbbbbbbb), seed 1", True),
        "c": ("CEO", "CEO, seed 1", False),
        "d": ("CEO", "CEO, seed 2", False),
    }


def test_runs_that_share_their_weights_are_named(workspace: Workspace) -> None:
    def scored(encoder: str) -> EvaluationRecord:
        return dataclasses.replace(evaluation("test", skill=1.0), depends_on={"data": {"encoder": encoder}})

    runs = reported_runs(
        [
            write_run(workspace, experiment("label=zero-shot", "optim.epochs=0"), scored("one"), key="z"),
            write_run(workspace, experiment("label=CEO"), scored("another"), key="c"),
            write_run(workspace, experiment("label=InfoNCE", "loss.name=info_nce"), scored("one"), key="i", epoch=0),
        ],
        None,
    )
    pairs = method_pairs(runs, **TEST)
    assert naming_notes(runs, pairs) == (
        "Of the same weights, so that no difference between them comes from training: zero-shot; InfoNCE.",
    )


def test_of_runs_with_one_label_and_seed_the_newest_keeps_the_name(workspace: Workspace) -> None:
    made = [
        scored_run(workspace, "InfoNCE", 'loss.name="info_nce"', "seed=1", key="aaaaaaaa00"),
        scored_run(workspace, "InfoNCE", 'loss.name="info_nce"', key="ffffffff00"),
        scored_run(workspace, "InfoNCE", 'loss.name="info_nce"', key="bbbbbbbb00"),
        scored_run(workspace, "CEO", key="cccccccc00"),
    ]
    runs = reported_runs(made, None)
    named = {run.record.key[0]: (run.method, run.label, run.is_older) for run in runs}
    assert named == {
        "a": ("InfoNCE", "InfoNCE, seed 1", False),
        "b": ("InfoNCE", "InfoNCE, seed 0", False),
        "c": ("CEO", "CEO", False),
        "f": ("InfoNCE (ffffffff)", "InfoNCE (ffffffff)", True),
    }
    pairs = method_pairs(runs, **TEST)
    # the baseline is the newest too
    assert [(a[0].method, b[0].method) for a, b in pairs.compared] == [
        ("CEO", "InfoNCE"),
        ("InfoNCE (ffffffff)", "InfoNCE"),
        ("InfoNCE (ffffffff)", "CEO"),
    ]
    first, second, third = naming_notes(runs, pairs)
    assert first.endswith("the newest keep the name, older ones have a key: InfoNCE (ffffffff).")
    assert second == "CEO against InfoNCE: Left out, as the other has no run of it: seed 1 of InfoNCE."
    assert third.startswith("InfoNCE (ffffffff) against InfoNCE: ")
    assert naming_notes(runs[:1], method_pairs(runs[:1], **TEST)) == ()

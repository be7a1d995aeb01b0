"""What a report claims: only what a paired test bears out, and never against a baseline that was not trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from conical.reports import RunRow, results_grid
from conical.runs.comparison import compare_methods
from conical.runs.report.best_marks import mark_best
from conical.runs.report.builder import build_report, result_row
from conical.runs.report.methods import method_pairs, reported_runs
from conical.runs.report.verdict import verdict
from conical.store import EvaluationRecord, RunFolder, Workspace
from unit.runs.stored_runs import evaluation, scored_run

BASE = 'loss.name="info_nce"'
TEST = {"split": "test", "protocol": "raw"}
LOW, HIGH = 0.2, 9.0  # a chance-like and a nearly perfect scorer
HOW = "(test, 24 queries, paired bootstrap, 5 % error, one training each)"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def _verdict(folders: list[RunFolder]) -> str:
    runs = reported_runs(folders, None)
    return verdict(runs, method_pairs(runs, **TEST), **TEST)


@pytest.mark.parametrize(
    ("baseline", "method", "start"),
    [
        (LOW, HIGH, "CEO (+91.7) is significantly better than InfoNCE in t2v R@1 "),
        (HIGH, LOW, "CEO (-91.7) is significantly worse than InfoNCE in t2v R@1 "),
        (LOW, LOW, "CEO (+0.0) does not differ significantly from InfoNCE in t2v R@1 "),
    ],
)
def test_one_method_against_the_baseline(workspace: Workspace, baseline: float, method: float, start: str) -> None:
    folders = [
        scored_run(workspace, "InfoNCE", BASE, key="a", skill=baseline),
        scored_run(workspace, "CEO", key="b", skill=method),
    ]
    assert _verdict(folders) == f"{start}{HOW}."


@pytest.mark.parametrize(("skill", "claim"), [(HIGH, "better than"), (LOW, "does not differ significantly from")])
def test_nothing_is_claimed_against_a_baseline_that_stayed_untrained(
    workspace: Workspace, skill: float, claim: str
) -> None:
    folders = [
        scored_run(workspace, "InfoNCE", BASE, key="a", skill=LOW, epoch=0),
        scored_run(workspace, "CEO", key="b", skill=skill),
    ]
    told = _verdict(folders)
    assert told.startswith(
        "Nothing can be claimed against InfoNCE: no epoch of it was better on val than the untrained"
    )
    assert claim in told
    assert "that untrained model in t2v R@1" in told
    assert "than InfoNCE" not in told
    assert "from InfoNCE" not in told


def test_several_methods_stand_in_one_sentence_by_what_may_be_said(workspace: Workspace) -> None:
    told = _verdict(
        [
            scored_run(workspace, "InfoNCE", BASE, key="a", skill=LOW),
            scored_run(workspace, "good", key="b", skill=HIGH),
            scored_run(workspace, "fine", "loss.tau_tv=3.0", key="c", skill=HIGH),
            scored_run(workspace, "same", "loss.tau_tv=4.0", key="d", skill=LOW),
        ]
    )
    assert told.startswith(
        "good (+91.7) and fine (+91.7) are significantly better than InfoNCE in t2v R@1; same (+0.0) does "
    )
    assert "5 % error over all 3 comparisons" in told
    assert told.count(".") == told.count("+91.7") + told.count("+0.0") + 1  # one sentence


def test_many_methods_are_judged_at_once(workspace: Workspace) -> None:
    """A difference that one comparison alone would call significant is not when it is one of many."""
    baseline = scored_run(workspace, "InfoNCE", BASE, key="base", skill=LOW)
    settings = [f"loss.tau_tv={number}.0" for number in range(1, 9)]
    others = [scored_run(workspace, f"m{n}", one, key=f"o{n}", skill=LOW) for n, one in enumerate(settings)]
    confidence = 1 - 0.05 / (len(others) + 1)
    for step in range(2, 60):
        near = scored_run(workspace, "near", key="near", skill=LOW + step / 20)
        alone = compare_methods([near], [baseline], **TEST)
        at_once = compare_methods([near], [baseline], **TEST, confidence=confidence)
        if alone.winner and not at_once.winner:
            break
    else:
        pytest.fail("no skill lies between the two bounds")
    assert "significantly better" in _verdict([baseline, near])
    assert "no method differs significantly" in _verdict([baseline, near, *others]).lower()


def test_without_a_comparison_the_verdict_says_why(workspace: Workspace) -> None:
    ceo = scored_run(workspace, "CEO", key="b")
    assert _verdict([ceo]).startswith("No verdict: CEO is the only trained method scored on test")
    untrained = scored_run(workspace, "zero-shot", "optim.epochs=0", key="z")
    assert _verdict([untrained]) == "No verdict: no trained run was scored on test under protocol raw."
    other_seed = scored_run(workspace, "InfoNCE", BASE, "seed=3", key="c")
    assert _verdict([ceo, other_seed]).startswith("No verdict: the trained methods share no seed")


def test_a_report_holds_its_verdict_and_its_dataset(tmp_path: Path) -> None:
    from unit.runs.stored_runs import write_workspace

    workspace = write_workspace(tmp_path)
    scored_run(workspace, "InfoNCE", BASE, key="a", skill=LOW)
    scored_run(workspace, "CEO", key="b", skill=HIGH)
    data = build_report(workspace, "demo")
    assert data.verdict == f"CEO (+91.7) is significantly better than InfoNCE in t2v R@1 {HOW}."
    assert data.dataset == "scenes"
    assert {row.label: "t2v/R1" in (row.best_in or ()) for row in data.rows} == {"InfoNCE": False, "CEO": True}


def _rows(workspace: Workspace, *skills: float) -> list[tuple[RunRow, EvaluationRecord]]:
    rows = []
    for number, skill in enumerate(skills):
        folder, scored = scored_run(workspace, f"m{number}", key=f"k{number}"), evaluation("test", skill=skill)
        rows.append((result_row(folder.read(), scored, f"m{number}"), scored))
    return rows


def test_bold_is_what_beats_every_other_run_beyond_doubt(workspace: Workspace) -> None:
    rows = mark_best(_rows(workspace, LOW, HIGH, LOW))
    assert [bool(row.best_in) for row in rows] == [False, True, False]
    assert {"t2v/R1", "v2t/R1", "t2v/MeanR"} <= (rows[1].best_in or set())
    grid = results_grid(rows)
    assert (grid.spans().index(3, 1), 2) in grid.best
    assert any(note.startswith("Bold: significantly better than every other run") for note in grid.notes)


@pytest.mark.parametrize("skills", [(LOW, LOW), (HIGH, HIGH, LOW), (LOW, LOW + 0.1), (LOW + 0.3, LOW)])
def test_the_largest_number_alone_is_not_bold(workspace: Workspace, skills: tuple[float, ...]) -> None:
    rows = mark_best(_rows(workspace, *skills))
    assert all(row.best_in is not None and not any(key.endswith("/R1") for key in row.best_in) for row in rows)
    assert not any(column == 2 for _, column in results_grid(rows).best)


def test_a_run_alone_is_not_tested(workspace: Workspace) -> None:
    (row,) = mark_best(_rows(workspace, HIGH))
    assert row.best_in is None
    assert not any(note.startswith("Bold") for note in results_grid([row]).notes)

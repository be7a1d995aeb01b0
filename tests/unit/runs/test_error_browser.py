"""What the error browser shows agrees with the stored ranks, in both directions, and stays within its budget."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from conical.metrics import retrieval_metrics
from conical.runs.dependencies import data_source
from conical.runs.report import queries as error_browser
from conical.runs.report.methods import reported_runs
from conical.runs.report.queries import build_browser, direction_scores
from conical.store import EvaluationRecord
from unit.runs.stored_runs import evaluation, experiment, scored_run, write_workspace


def hand_made() -> EvaluationRecord:
    """Three videos; video 1 has two captions, video 2 none."""
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.4], [0.1, 0.7, 0.0]], np.float32)
    owner = np.array([0, 1, 1])
    found = retrieval_metrics(similarity, text_video=owner, num_resamples=5)
    return dataclasses.replace(
        evaluation("test", skill=1.0),
        similarity=similarity,
        text_video=owner,
        texts=("zero", "one a", "one b"),
        video_ids=("v0", "v1", "v2"),
        ranks_t2v=found.t2v.ranks,
        ranks_v2t=found.v2t.ranks,
    )


def test_text_to_video_hits_are_the_nearest_videos() -> None:
    outcome = direction_scores(hand_made(), "t2v").outcome(1, "run")
    assert [(hit.video_id, round(hit.score, 1), hit.is_correct) for hit in outcome.hits] == [
        ("v0", 0.8, False),
        ("v2", 0.4, False),
        ("v1", 0.3, True),
    ]
    assert (outcome.rank, outcome.label) == (3, "run")


def test_video_to_text_hits_are_caption_groups_by_their_best_caption() -> None:
    found = direction_scores(hand_made(), "v2t")
    assert (list(found.query_videos), list(found.query_texts)) == (["v0", "v1"], ["zero", "one a"])
    # video 0: "zero" 0.9 before the group of video 1, best 0.8 by "one a"
    assert [(hit.video_id, hit.text, hit.is_correct) for hit in found.outcome(0, "run").hits] == [
        ("v0", "zero", True),
        ("v1", "one a", False),
    ]
    # video 1: its own "one b" 0.7 before "zero" 0.1
    assert [(hit.text, hit.is_correct) for hit in found.outcome(1, "run").hits] == [("one b", True), ("zero", False)]


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_the_hits_agree_with_the_stored_ranks(direction: str) -> None:
    found = direction_scores(evaluation("test", skill=1.0), direction)
    for query in range(len(found.ranks)):
        outcome = found.outcome(query, "run")
        places = [place for place, hit in enumerate(outcome.hits, start=1) if hit.is_correct]
        assert places == ([outcome.rank] if outcome.rank <= 3 else [])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory):
    workspace = write_workspace(tmp_path_factory.mktemp("browser"))
    runs = reported_runs(
        [
            scored_run(workspace, "base", 'loss.name="info_nce"', key="b", skill=0.5),
            scored_run(workspace, "judged", key="j", skill=2.0),
        ],
        None,
    )
    return runs, data_source(experiment(), workspace)


def test_a_pair_and_the_best_run_alone_are_shown_in_both_directions(shown) -> None:
    (base, judged), source = shown
    found = build_browser([((judged,), (base,))], judged, source, split="test", protocol="raw")
    assert [(view.label, view.against, view.direction) for view in found.views] == [
        ("judged", "base", "t2v"),
        ("judged", "base", "v2t"),
        ("judged", None, "t2v"),
        ("judged", None, "v2t"),
    ]
    first = found.views[0]
    ranks, before = (run.evaluations["test/raw"].ranks_t2v for run in (judged, base))
    assert (first.num_queries, first.num_lost) == (24, int((ranks > before).sum()))
    assert first.num_gained == int((ranks < before).sum()) > 0
    changes = [case.doublings for case in first.cases]
    assert changes == sorted(changes, reverse=True)
    named = {video_id for view in found.views for case in view.cases for video_id in case.clip_ids()}
    assert found.clips.keys() == named
    clip = found.clips["test4"]
    assert clip.captions == ("a green tree", "number 4")
    assert clip.filmstrip.shape == (3, 64, 64, 3)


def test_the_budget_of_clips_keeps_the_extremes_of_every_view(shown, monkeypatch: pytest.MonkeyPatch) -> None:
    (base, judged), source = shown
    whole = build_browser([((judged,), (base,))], judged, source, split="test", protocol="raw")
    monkeypatch.setattr(error_browser, "_MAX_CLIPS", 9)
    found = build_browser([((judged,), (base,))], judged, source, split="test", protocol="raw")
    assert len(found.clips) <= 9 < len(whole.clips)
    assert found.views[0].cases[0] == whole.views[0].cases[0]
    for view, full in zip(found.views, whole.views, strict=True):
        kept = [full.cases.index(case) for case in view.cases]
        assert kept == sorted(kept)


def test_nothing_scored_shows_nothing(shown, tmp_path: Path) -> None:
    (_, judged), source = shown
    assert build_browser([], judged, source, split="test", protocol="captioned-gallery") is None

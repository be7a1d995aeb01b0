from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.reports import AblationLine, Clip, ErrorBrowser, MetricValue, Outcome, across_ranks, most_changed
from unit.reports.report_factory import browser, case, clip


def test_a_change_counts_by_doublings_of_the_rank() -> None:
    # 1 -> 20 is 4.3 doublings, 301 -> 320 is 0.09, 4 -> 2 is -1, 9 -> 3 is -1.6, 5 -> 5 is none
    ranks, against = np.array([320.0, 20, 5, 2, 3]), np.array([301.0, 1, 5, 4, 9])
    assert most_changed(ranks, against, count=2).tolist() == [1, 4]
    assert most_changed(ranks, against, count=10).tolist() == [1, 0, 3, 4]
    assert case("q", 20, 1).doublings == pytest.approx(4.3219, abs=1e-4)
    assert case("q", 2, 4).doublings == -1
    assert case("q", 7).doublings == 0


def test_where_little_was_lost_more_of_the_gained_are_shown() -> None:
    ranks, against = np.array([2.0, 1, 1, 1]), np.array([1.0, 2, 3, 4])
    assert most_changed(ranks, against, count=4).tolist() == [0, 1, 2, 3]
    assert most_changed(against, ranks, count=4).tolist() == [3, 2, 1, 0]
    assert most_changed(ranks, ranks, count=4).tolist() == []


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30), st.integers(1, 12))
def test_the_chosen_queries_are_the_extremes_in_order(pairs: list[tuple[int, int]], count: int) -> None:
    ranks, against = np.array(pairs, dtype=float).T
    chosen, change = most_changed(ranks, against, count=count), np.log2(ranks / against)
    assert len(chosen) == min(count, int((change != 0).sum()))
    assert len(set(chosen.tolist())) == len(chosen)
    assert np.all(np.diff(change[chosen]) <= 0)
    left_out = np.delete(change, chosen)
    lost, gained = change[chosen][change[chosen] > 0], change[chosen][change[chosen] < 0]
    assert all(value <= lost.min() for value in left_out[left_out > 0] if len(lost))
    assert all(value >= gained.max() for value in left_out[left_out < 0] if len(gained))


def test_a_run_alone_shows_its_worst_and_some_of_every_rank() -> None:
    ranks = np.arange(1.0, 101)
    assert across_ranks(ranks, count=6).tolist() == [99, 98, 97, 96, 48, 0]
    assert across_ranks(ranks[:3], count=12).tolist() == [2, 1, 0]
    assert across_ranks(ranks[:1], count=1).tolist() == [0]


def test_a_clip_refuses_frames_of_another_kind_and_prints_its_shape() -> None:
    frames = np.zeros((2, 8, 8, 3), np.float32)
    with pytest.raises(ValueError, match=r"filmstrip of v must be uint8 .*, got float32 \(2, 8, 8, 3\)"):
        Clip(video_id="v", captions=(), supplements=(), filmstrip=frames)  # type: ignore[arg-type]
    assert repr(clip(3)) == "Clip('scene_00003', captions=5, filmstrip=(10, 64, 64, 3))"


def test_records_of_the_browser_refuse_what_does_not_fit() -> None:
    found = browser()
    with pytest.raises(ValueError, match="rank must be >= 1, got 0"):
        Outcome(label="x", rank=0, hits=())
    with pytest.raises(ValueError, match="direction must be one of t2v, v2t; got 'v2v'"):
        dataclasses.replace(found.views[0], direction="v2v")
    with pytest.raises(ValueError, match=r"every case of a view must have an outcome a run: .* against None"):
        dataclasses.replace(found.views[0], against=None)
    clips = {name: shown for name, shown in found.clips.items() if name != "scene_00002"}
    with pytest.raises(ValueError, match="every clip of a case must be in clips, missing: scene_00002"):
        ErrorBrowser(views=found.views, clips=clips)


def test_an_ablation_knows_its_metrics() -> None:
    with pytest.raises(ValueError, match="metric must be one of R1, R5, R10, MedR, MeanR; got 'R2'"):
        AblationLine(change="", label="x", metrics={"R2": MetricValue(1.0)}, against_base={})

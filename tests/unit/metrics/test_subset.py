"""Some of the queries against the whole gallery: the ranks stay, only the mean is over fewer of them."""

from __future__ import annotations

import numpy as np
import pytest

from conical.metrics import compare, restrict_queries, retrieval_metrics

# 4 texts of 3 videos; each row's best column is marked by the larger number
SIMILARITY = np.array(
    [
        [0.9, 0.1, 0.0],  # text of video 0: first
        [0.2, 0.8, 0.1],  # text of video 1: first
        [0.7, 0.3, 0.5],  # second text of video 1: third
        [0.6, 0.1, 0.4],  # text of video 2: second
    ]
)
OWNER = np.array([0, 1, 1, 2])


def restricted(*videos: int):
    whole = retrieval_metrics(SIMILARITY, text_video=OWNER)
    return restrict_queries(whole, text_video=OWNER, videos=np.isin(np.arange(3), videos))


def test_ranks_of_the_chosen_queries_are_those_among_all() -> None:
    part = restricted(1, 2)
    assert part.t2v.ranks.tolist() == [1.0, 3.0, 2.0]
    assert (part.t2v.num_queries, part.t2v.num_gallery) == (3, 3)
    # (100 + 0 + 0) / 3 and the mean of 1, 3, 2
    assert abs(part.t2v.R1 - 100 / 3) < 1e-9
    assert part.t2v.MeanR == 2.0


def test_video_to_text_asks_the_chosen_videos_for_all_texts() -> None:
    part = restricted(0, 2)
    # columns by group: video 0 has 0.9 | 0.7 | 0.6, its own is first; video 2 has 0.0 | 0.5 | 0.4, its own is second
    assert part.v2t.ranks.tolist() == [1.0, 2.0]
    assert part.v2t.num_gallery == 3
    assert part.v2t_any is not None
    assert (part.v2t_any.num_queries, part.v2t_any.num_gallery) == (2, 4)


def test_all_videos_give_the_whole() -> None:
    whole, part = retrieval_metrics(SIMILARITY, text_video=OWNER), restricted(0, 1, 2)
    for name, found in part.directions().items():
        assert found.values() == whole.directions()[name].values()
        assert found.metrics == whole.directions()[name].metrics


def test_texts_of_one_video_are_resampled_together() -> None:
    # one group only: every resample is the same, so the interval is a point
    assert restricted(1).t2v.metrics["R1"].low == restricted(1).t2v.metrics["R1"].high == 50.0


def test_a_video_without_texts_is_a_distractor_and_no_query() -> None:
    whole = retrieval_metrics(SIMILARITY[:3], text_video=OWNER[:3])
    part = restrict_queries(whole, text_video=OWNER[:3], videos=np.array([True, False, True]))
    assert (part.t2v.num_queries, part.v2t.num_queries) == (1, 1)
    with pytest.raises(ValueError, match="no query is left: none of the chosen videos has a text"):
        restrict_queries(whole, text_video=OWNER[:3], videos=np.array([False, False, True]))


def test_a_restricted_ranking_can_be_compared() -> None:
    part = restricted(1, 2)
    assert compare(part.t2v.ranking, part.t2v.ranking).difference == 0.0


def test_wrong_shapes_are_refused() -> None:
    whole = retrieval_metrics(SIMILARITY, text_video=OWNER)
    with pytest.raises(ValueError, match=r"text_video must have one column for each of the 4 texts, got shape \(3,\)"):
        restrict_queries(whole, text_video=OWNER[:3], videos=np.ones(3, bool))
    with pytest.raises(ValueError, match=r"videos must be 3 booleans, one per video, got int64 of shape \(2,\)"):
        restrict_queries(whole, text_video=OWNER, videos=np.array([0, 1]))

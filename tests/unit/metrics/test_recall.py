"""Recalls in both directions, the two rules of many captions per video, and rescoring."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conical.metrics import METRICS, DirectionMetrics, dual_softmax, retrieval_metrics

# 4 texts x 4 videos, the diagonal is correct
SQUARE = np.array(
    [
        [0.9, 0.1, 0.2, 0.3],  # t2v rank 1
        [0.8, 0.5, 0.7, 0.1],  # 0.8, 0.7 above 0.5: 3
        [0.1, 0.2, 0.6, 0.0],  # 1
        [0.7, 0.6, 0.5, 0.4],  # all above: 4
    ]
)
# v2t, columns: 0.9 is best: 1;  0.6 above 0.5: 2;  0.7 above 0.6: 2;  0.4 is best: 1

# 8 texts x 4 videos; text i belongs to OWNER[i], and video 3 has no text
OWNER = np.array([0, 0, 0, 1, 1, 2, 2, 2])
MANY = np.array(
    [
        [9, 1, 2, 0],  # 1
        [3, 4, 2, 0],  # 2
        [1, 4, 2, 8],  # 8, 4, 2 above 1: 4
        [8, 5, 0, 0],  # 2
        [0, 6, 7, 0],  # 2
        [0, 0, 3, 0],  # 1
        [0, 7, 2, 0],  # 2
        [5, 6, 1, 7],  # 4
    ],
    dtype=float,
)


def test_square_by_hand() -> None:
    metrics = retrieval_metrics(SQUARE)
    # t2v ranks 1 3 1 4: half in first place, all in 5; median (1 + 3) / 2; mean 9 / 4
    assert metrics.t2v.values() == {"R1": 50.0, "R5": 100.0, "R10": 100.0, "MedR": 2.0, "MeanR": 2.25}
    # v2t ranks 1 2 2 1
    assert metrics.v2t.values() == {"R1": 50.0, "R5": 100.0, "R10": 100.0, "MedR": 1.5, "MeanR": 1.5}
    assert metrics.v2t.ranks.tolist() == [1, 2, 2, 1]
    assert metrics.v2t_any is None
    assert list(metrics.directions()) == ["t2v", "v2t"]
    assert (metrics.t2v.num_queries, metrics.t2v.num_gallery, metrics.t2v.has_ties) == (4, 4, False)


def test_many_captions_by_hand() -> None:
    metrics = retrieval_metrics(MANY, text_video=OWNER)
    assert metrics.t2v.ranks.tolist() == [1, 2, 4, 2, 2, 1, 2, 4]
    assert metrics.t2v.R1 == 25.0
    # groups by their best caption:  video 0: 9, 8, 5 -> 1;  video 1: 4, 6, 7 -> 2;  video 2: 2, 7, 3 -> 2
    assert metrics.v2t.ranks.tolist() == [1, 2, 2]
    assert (metrics.v2t.num_queries, metrics.v2t.num_gallery) == (3, 3)
    assert metrics.v2t.values()["R1"] == pytest.approx(100 / 3)
    # single captions:  video 0: its 9 is best -> 1;  video 1: own 6, wrong 7 above, wrong 6 ties -> 1 + 1 + 1/2;
    # video 2: own 3, wrong 7 above, no wrong 3 -> 2
    assert metrics.v2t_any is not None
    assert metrics.v2t_any.ranks.tolist() == [1, 2.5, 2]
    assert (metrics.v2t_any.num_queries, metrics.v2t_any.num_gallery, metrics.v2t_any.has_ties) == (3, 8, True)
    assert list(metrics.directions()) == ["t2v", "v2t", "v2t_any"]


def test_the_two_rules_of_v2t_differ_when_one_video_owns_many_good_captions() -> None:
    # video 1: six captions of video 0 beat its own, which are one group but six captions
    similarity = np.zeros((8, 2))
    similarity[:6, 1] = 5
    similarity[6:, 1] = 4
    metrics = retrieval_metrics(similarity, text_video=np.array([0] * 6 + [1] * 2))
    assert metrics.v2t_any is not None
    assert metrics.v2t.ranks[1] == 2
    assert metrics.v2t_any.ranks[1] == 7


def test_a_video_without_text_is_a_distractor_and_no_query() -> None:
    metrics = retrieval_metrics(MANY[:, [0, 1, 2]], text_video=OWNER)
    assert metrics.t2v.num_gallery == 3
    assert metrics.t2v.ranks[2] == 3  # without video 3's 8
    assert metrics.v2t.ranks.tolist() == retrieval_metrics(MANY, text_video=OWNER).v2t.ranks.tolist()


def test_recall_of_a_constant_scorer_is_chance() -> None:
    # 40 videos, 3 captions each: a group is one of 40, and one of the 3 own captions leads 120 with chance 1 / 40
    metrics = retrieval_metrics(np.full((120, 40), 0.3), text_video=np.arange(120) % 40)
    assert metrics.v2t_any is not None
    for direction in metrics.directions().values():
        assert direction.values()["R1"] == pytest.approx(100 / 40)
        assert direction.has_ties
    assert metrics.t2v.values()["R10"] == pytest.approx(25)
    assert metrics.t2v.MeanR == metrics.t2v.MedR == (40 + 1) / 2
    # the best of 3 among 120 in random order stands at (120 + 1) / (3 + 1)
    assert metrics.v2t_any.MeanR == pytest.approx(121 / 4)
    assert metrics.t2v.metrics["R1"].tie_low == 0
    assert metrics.t2v.metrics["R1"].tie_high == 100
    assert (metrics.t2v.metrics["MeanR"].tie_low, metrics.t2v.metrics["MeanR"].tie_high) == (1, 40)


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_texts_and_videos_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts, videos = rng.permutation(8), rng.permutation(4)
    moved = retrieval_metrics(
        MANY[texts][:, videos], text_video=np.argsort(videos)[OWNER[texts]], num_resamples=1
    ).directions()
    for name, direction in retrieval_metrics(MANY, text_video=OWNER, num_resamples=1).directions().items():
        assert moved[name].values() == pytest.approx(direction.values())


def test_torch_gives_what_numpy_gives() -> None:
    from_torch = retrieval_metrics(torch.as_tensor(MANY).bfloat16(), text_video=OWNER)
    assert from_torch.v2t.values() == retrieval_metrics(MANY, text_video=OWNER).v2t.values()


def test_intervals_hold_the_value_and_the_seed_decides_them() -> None:
    similarity = np.random.default_rng(0).normal(size=(60, 60)) + 2 * np.eye(60)
    first, again, other = (retrieval_metrics(similarity, seed=seed).t2v for seed in (0, 0, 1))
    for name, value in first.values().items():
        assert first.metrics[name].low <= value <= first.metrics[name].high
    assert first.metrics == again.metrics
    assert first.metrics["MeanR"] != other.metrics["MeanR"]


def test_without_resamples_there_is_no_interval_and_the_same_value() -> None:
    with_intervals, without = (retrieval_metrics(MANY, text_video=OWNER, num_resamples=n) for n in (10, None))
    assert (
        without.by_name().keys()
        == with_intervals.by_name().keys()
        == {f"{direction}/{name}" for direction in ("t2v", "v2t", "v2t_any") for name in METRICS}
    )
    for name, metric in without.by_name().items():
        assert (metric.low, metric.high) == (None, None)
        full = with_intervals.by_name()[name]
        assert (metric.value, metric.tie_low, metric.tie_high) == (full.value, full.tie_low, full.tie_high)


def test_captions_of_one_video_are_resampled_together() -> None:
    # each video is either right for all its 20 captions or wrong for all: 20 videos' worth of evidence, not 400's
    owner = np.repeat(np.arange(20), 20)
    similarity = np.zeros((400, 20))
    similarity[np.arange(400), np.where(owner % 2 == 0, owner, (owner + 1) % 20)] = 1
    width_by_video = retrieval_metrics(similarity, text_video=owner).t2v.metrics["R1"]
    # binomial of 20 at 1/2: standard error 100 * sqrt(1/4 / 20) = 11.2 points, so about 44 wide; of 400: 2.5, 10 wide
    assert 35 < width_by_video.high - width_by_video.low < 50
    one_source = retrieval_metrics(similarity, text_video=owner, video_groups=np.zeros(20)).t2v.metrics["R1"]
    assert one_source.low == one_source.high == 50


def test_rescoring_is_applied_with_each_directions_queries_as_rows() -> None:
    # one video draws every text; the weights over the texts give each text its own
    similarity = np.array([[0.9, 0.5, 0.1], [0.8, 0.75, 0.1], [0.85, 0.1, 0.7]])
    assert retrieval_metrics(similarity).t2v.ranks.tolist() == [1, 2, 2]
    rescored = retrieval_metrics(similarity, rescore=dual_softmax)
    assert rescored.t2v.ranks.tolist() == [1, 1, 1]
    by_hand = dual_softmax(similarity.T)
    assert rescored.v2t.ranks.tolist() == [1 + int((row > row[i]).sum()) for i, row in enumerate(by_hand)]


def test_metrics_print_numbers_and_no_arrays() -> None:
    assert repr(retrieval_metrics(SQUARE).t2v) == (
        "DirectionMetrics(R1=50.00, R5=100.00, R10=100.00, MedR=2.00, MeanR=2.25, queries=4, gallery=4)"
    )
    assert "has_ties" in repr(retrieval_metrics(np.ones((2, 2))).t2v)
    assert DirectionMetrics.__hash__ is not None  # compared by identity: arrays have no one truth


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": np.zeros(4)}, r"similarity must be \(text, video\), got shape \(4,\)"),
        ({"similarity": np.zeros((3, 2))}, "there are 3 texts and 2 videos: give text_video"),
        ({"text_video": np.array([0, 1])}, r"text_video must be 4 integers, one per text, got int64 of shape \(2,\)"),
        ({"text_video": np.array([0.0, 1, 2, 3])}, "text_video must be 4 integers, one per text, got float64"),
        ({"text_video": np.array([0, 1, 2, 4])}, "text_video must be columns 0 to 3, got 0 to 4"),
        ({"video_groups": np.zeros(3)}, "video_groups must have one label for each of the 4 videos"),
        ({"num_resamples": 0}, "num_resamples must be >= 1, got 0"),
        ({"confidence": 95}, "confidence must be between 0 and 1, got 95: 0.95 is usual"),
        ({"similarity": np.full((4, 4), np.nan)}, "similarity must hold no NaN, got one in row 0"),
    ],
)
def test_retrieval_metrics_refuse(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**({"similarity": SQUARE} | arguments))

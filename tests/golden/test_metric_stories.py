"""What published retrieval code got wrong at one time or another, and what must hold whoever computes the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conical.metrics import (
    RetrievalMetrics,
    dual_softmax,
    embedding_metrics,
    rank_embeddings,
    rank_queries,
    retrieval_metrics,
)

OWNER = np.array([0, 0, 1, 2, 2, 2, 3])
# multiples of 1/16 below 1: sums with small integers and products with powers of two are exact in float32
SCORES = hnp.arrays(np.float32, (7, 5), elements=st.integers(-15, 15).map(lambda number: number / 16))


def all_values(metrics: RetrievalMetrics) -> dict[str, dict[str, float]]:
    return {name: direction.values() for name, direction in metrics.directions().items()}


def collapsed(num_texts: int, num_videos: int) -> list[tuple[str, RetrievalMetrics]]:
    """A model that gives one embedding to everything, scored every way there is."""
    owner = np.arange(num_texts) % num_videos
    text, video = np.ones((num_texts, 8)), np.ones((num_videos, 8))
    matrix = np.full((num_texts, num_videos), 0.3)
    return [
        ("matrix", retrieval_metrics(matrix, text_video=owner, num_resamples=5)),
        ("half", retrieval_metrics(matrix.astype(np.float16), text_video=owner, num_resamples=5)),
        ("torch", retrieval_metrics(torch.as_tensor(matrix).bfloat16(), text_video=owner, num_resamples=5)),
        ("dual softmax", retrieval_metrics(matrix, text_video=owner, rescore=dual_softmax, num_resamples=5)),
        ("embeddings", embedding_metrics(text, video, text_video=owner, num_resamples=5)),
    ]


@pytest.mark.parametrize("captions", [1, 3, 20])
@pytest.mark.parametrize("num_videos", [4, 30])
def test_a_constant_scorer_scores_chance_in_every_metric(num_videos: int, captions: int) -> None:
    num_texts = num_videos * captions
    for name, metrics in collapsed(num_texts, num_videos):
        for direction in (metrics.t2v, metrics.v2t):  # one right entry among num_videos
            for k in (1, 5, 10):
                assert direction.values()[f"R{k}"] == pytest.approx(100 * min(k, num_videos) / num_videos), (name, k)
            assert direction.MeanR == pytest.approx((num_videos + 1) / 2), name
            assert direction.MedR == pytest.approx((num_videos + 1) / 2), name
        if captions == 1:
            assert metrics.v2t_any is None
            continue
        # one of `captions` right ones among all texts: all k places taken by wrong ones is a miss
        assert metrics.v2t_any is not None
        for k in (1, 5, 10):
            miss = math.comb(num_texts - captions, k) / math.comb(num_texts, k)
            assert metrics.v2t_any.values()[f"R{k}"] == pytest.approx(100 * (1 - miss)), (name, k)
        assert metrics.v2t_any.MeanR == pytest.approx((num_texts + 1) / (captions + 1)), name
        assert metrics.v2t_any.MedR == pytest.approx((num_texts + 1) / (captions + 1)), name


def test_counting_only_better_scores_would_praise_a_collapsed_model() -> None:
    # the recipe "rank = number of columns above the right one" calls a model that says nothing perfect
    collapsed_scores = np.zeros((50, 50), dtype=np.float32)
    strictly_better = (collapsed_scores > np.diag(collapsed_scores)[:, None]).sum(axis=1)
    assert np.mean(strictly_better == 0) == 1.0
    t2v = retrieval_metrics(collapsed_scores).t2v
    assert t2v.values()["R1"] == pytest.approx(2.0)
    # that reading is still there to be seen, as one of two bounds
    assert (t2v.metrics["R1"].tie_low, t2v.metrics["R1"].tie_high) == (0, 100)


def test_looking_for_zero_differences_counts_a_tied_query_several_times() -> None:
    # the recipe: sort each row, subtract the diagonal, take the places of the zeros as the ranks
    scores = np.array([[0.9, 0.9, 0.9, 0.1], [0.1, 0.8, 0.3, 0.2], [0.5, 0.5, 0.5, 0.5], [0.9, 0.1, 0.2, 0.3]])
    descending = -np.sort(-scores, axis=1)
    _, places = np.where(descending - np.diag(scores)[:, None] == 0)
    assert len(places) == 3 + 1 + 4 + 1, "nine ranks for four queries"
    assert 100 * np.mean(places == 0) == pytest.approx(100 * 3 / 9)
    # each query once: 1/3 + 1 + 1/4 + 0 of 4
    t2v = retrieval_metrics(scores).t2v
    assert t2v.num_queries == 4
    assert t2v.values()["R1"] == pytest.approx(100 * (1 / 3 + 1 + 1 / 4) / 4)


def test_argsort_would_let_the_order_of_the_gallery_decide() -> None:
    # a stable sort puts equal scores in the order of the columns: the first video of the list is always "found"
    scores = np.zeros((6, 6))
    by_argsort = np.argsort(-scores, axis=1, kind="stable").argsort(axis=1).diagonal() + 1
    assert by_argsort.tolist() == [1, 2, 3, 4, 5, 6]
    assert retrieval_metrics(scores).t2v.ranks.tolist() == [3.5] * 6


def test_mean_rank_is_no_mean_of_recalls() -> None:
    metrics = retrieval_metrics(np.eye(20)[:, ::-1]).t2v
    recalls = (metrics.R1 + metrics.R5 + metrics.R10) / 3
    assert metrics.MeanR == pytest.approx(np.mean(metrics.ranks))
    assert metrics.MeanR != pytest.approx(recalls)


def test_a_gallery_that_holds_each_video_twice_halves_the_first_place() -> None:
    # a perfect model; the copy of the right video is a wrong column that ties with it
    # an eighth: every product and sum is exact, so that equal columns tie on any BLAS
    text = video = np.eye(16, dtype=np.float32) + 0.125
    twice = np.concatenate([video, video])
    # one product, since another of twice the width may round the copies otherwise
    scores = text @ video.T
    for ranking in (rank_embeddings(text, twice), rank_queries(np.concatenate([scores, scores], axis=1))):
        assert ranking.values().tolist() == [1.5] * 16
        assert ranking.hits(1).tolist() == pytest.approx([0.5] * 16)
        assert ranking.hits(2).tolist() == pytest.approx([1.0] * 16)
    # said to be right too, the copies cost nothing; said to be the same video, they are refused
    both = [[row, row + 16] for row in range(16)]
    assert rank_embeddings(text, twice, both).values().tolist() == [1.0] * 16
    with pytest.raises(ValueError, match="gallery_ids must not repeat, got 'v0' 2 times"):
        rank_embeddings(text, twice, both, gallery_ids=[f"v{row}" for row in range(16)] * 2)


def test_rows_that_fill_up_a_last_batch_are_refused_where_ids_are_given() -> None:
    # 10 videos on 4 ranks: a sampler repeats the first two, and R@1 of a perfect model falls to 10 of 12 and two halves
    padded = [*range(10), 0, 1]
    text = video = np.eye(10)[padded] + 0.5
    assert embedding_metrics(text, video).t2v.values()["R1"] == pytest.approx(100 * (8 + 4 / 2) / 12)
    with pytest.raises(ValueError, match="video_ids must not repeat, got 0 2 times"):
        embedding_metrics(text, video, video_ids=padded)


def test_scores_that_float16_cannot_tell_apart_are_ties() -> None:
    # float16 has 11 bits: near 0.5 its steps are 1/2048, so 0.5 + 1/8192 is 0.5
    fine = np.array([[0.5, 0.5 + 1 / 8192, 0.25], [0.1, 0.9, 0.2], [0.5 + 1 / 8192, 0.1, 0.5]], dtype=np.float32)
    exact, coarse = retrieval_metrics(fine).t2v, retrieval_metrics(fine.astype(np.float16)).t2v
    assert (exact.ranks.tolist(), exact.has_ties) == ([2, 1, 2], False)
    assert (coarse.ranks.tolist(), coarse.has_ties) == ([1.5, 1, 1.5], True)
    # the coarse matrix does not know; its bounds hold the exact value
    assert coarse.metrics["R1"].tie_low <= exact.R1 <= coarse.metrics["R1"].tie_high
    assert coarse.values()["R1"] == pytest.approx(100 * 2 / 3)


def test_one_video_with_many_captions_is_one_query_of_v2t() -> None:
    # 20 captions of video 0, 18 of them near to it; one caption of each of the others, all near to their own
    owner = np.array([0] * 20 + [1, 2, 3])
    scores = np.zeros((23, 4))
    scores[np.arange(23), owner] = 1
    scores[18:20] = [0, 2, 0, 0]  # two captions of video 0 that describe video 1 better than its own does
    metrics = retrieval_metrics(scores, text_video=owner)
    assert metrics.t2v.values()["R1"] == pytest.approx(100 * 21 / 23)
    assert metrics.v2t.num_queries == 4
    assert metrics.v2t.ranks.tolist() == [1, 2, 1, 1]  # as a group they count once against video 1
    assert metrics.v2t_any is not None
    assert metrics.v2t_any.ranks.tolist() == [1, 3, 1, 1]  # singly twice


@settings(max_examples=25)
@given(SCORES, st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_columns_does_not_matter(scores: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts, videos = rng.permutation(7), rng.permutation(5)
    names = np.array(["a", "b", "c", "d", "e"])
    moved = retrieval_metrics(
        scores[texts][:, videos],
        text_video=np.argsort(videos)[OWNER[texts]],
        text_ids=texts,
        video_ids=names[videos],
        num_resamples=1,
    )
    straight = retrieval_metrics(scores, text_video=OWNER, video_ids=names, num_resamples=1)
    for name, values in all_values(straight).items():
        assert all_values(moved)[name] == pytest.approx(values)


@settings(max_examples=25)
@given(SCORES, st.integers(-64, 64))
def test_adding_a_constant_to_all_scores_does_not_matter(scores: np.ndarray, constant: int) -> None:
    straight = retrieval_metrics(scores, text_video=OWNER, num_resamples=1)
    moved = retrieval_metrics(scores + np.float32(constant), text_video=OWNER, num_resamples=1)
    assert all_values(moved) == all_values(straight)


@settings(max_examples=25)
@given(SCORES, st.sampled_from([2.0**-20, 0.5, 2.0, 3.0, 2.0**20]))
def test_a_positive_scale_of_all_scores_does_not_matter(scores: np.ndarray, scale: float) -> None:
    straight = retrieval_metrics(scores, text_video=OWNER, num_resamples=1)
    moved = retrieval_metrics(scores * np.float32(scale), text_video=OWNER, num_resamples=1)
    assert all_values(moved) == all_values(straight)


@settings(max_examples=25)
@given(SCORES, st.sampled_from([0.25, 1.0, 4.0]))
def test_the_scale_of_all_embeddings_does_not_matter(scores: np.ndarray, scale: float) -> None:
    text = np.concatenate([scores, np.ones((7, 1), dtype=np.float32)], axis=1)  # no row is zero
    video = np.eye(5, 6, dtype=np.float32)
    straight = embedding_metrics(text, video, text_video=OWNER, num_resamples=1, tile=8)
    moved = embedding_metrics(scale * text, scale * video, text_video=OWNER, num_resamples=1, tile=8)
    assert all_values(moved) == all_values(straight)
    assert all_values(straight) == all_values(retrieval_metrics(scores, text_video=OWNER, num_resamples=1))


@settings(max_examples=25)
@given(SCORES)
def test_a_negative_scale_does_matter(scores: np.ndarray) -> None:
    # the optimistic rank from the top and the pessimistic one from the bottom are mirror images
    up, down = (rank_queries(sign * scores, OWNER) for sign in (1, -1))
    assert (up.values("optimistic") + down.values("pessimistic")).tolist() == [6] * 7

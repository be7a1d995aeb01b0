"""Small matrices whose every number was worked out by hand; the arithmetic stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from conical.metrics import RetrievalMetrics, direction_metrics, embedding_metrics, rank_queries, retrieval_metrics

# Scores are multiples of 1/8 so that float16, float32 and float64 hold them alike.
# 4 texts, 8 videos; text i belongs to video i, videos 4 to 7 are distractors
WIDE = (
    np.array(
        [
            # v0 v1 v2 v3 v4 v5 v6 v7
            [7, 1, 2, 3, 6, 0, 5, 4],  # own 7: none above                                            rank 1
            [5, 4, 4, 1, 6, 4, 0, 2],  # own 4: 5 and 6 above, two more 4s: 3 at best, 5 at worst     rank 4
            [8, 7, 0, 6, 5, 4, 3, 2],  # own 0: all seven above                                       rank 8
            [1, 2, 0, 5, 5, 5, 5, 5],  # own 5: none above, four more 5s: 1 at best, 5 at worst       rank 3
        ]
    )
    / 8
)

# 8 texts, 4 videos as MSVD has them: many captions per video. Owners: 0 0 0 1 1 2 2 3
OWNER = np.array([0, 0, 0, 1, 1, 2, 2, 3])
TALL = (
    np.array(
        [
            # v0 v1 v2 v3
            [9, 3, 1, 2],  # own 9                                     t2v rank 1
            [4, 6, 5, 2],  # own 4: 6, 5 above                         3
            [7, 7, 0, 1],  # own 7: one tie                            1.5
            [2, 8, 6, 5],  # own 8                                     1
            [6, 5, 6, 4],  # own 5: 6, 6 above                         3
            [1, 9, 3, 2],  # own 3: 9 above                            2
            [0, 2, 4, 4],  # own 4: one tie                            1.5
            [8, 1, 7, 6],  # own 6: 8, 7 above                         3
        ]
    )
    / 8
)


def check(found: dict[str, float], **expected: float) -> None:
    assert found == pytest.approx(expected)


def test_four_texts_among_eight_videos() -> None:
    t2v = retrieval_metrics(WIDE).t2v
    assert t2v.ranks.tolist() == [1, 4, 8, 3]
    # R@1: 1, 0, 0 and one of five equals = 1/5: 1.2 of 4 = 30 %
    # R@5: 1, 1 (3 to 5 are all within 5), 0, 1: 3 of 4.  R@10: there are only 8
    # MedR: of 1 3 4 8 the middle is 3.5.  MeanR: 16 / 4
    check(t2v.values(), R1=30, R5=75, R10=100, MedR=3.5, MeanR=4)
    # at best 1 3 8 1: R@1 2 of 4, median 2, mean 13 / 4.  At worst 1 5 8 5: R@1 1 of 4, median 5, mean 19 / 4
    bounds = {name: (metric.tie_low, metric.tie_high) for name, metric in t2v.metrics.items()}
    assert bounds == {"R1": (25, 50), "R5": (75, 75), "R10": (100, 100), "MedR": (2, 5), "MeanR": (3.25, 4.75)}


def test_distractor_videos_are_no_queries() -> None:
    v2t = retrieval_metrics(WIDE).v2t
    # columns v0: 7 5 8 1, own 7, 8 above: 2.  v1: 1 4 7 2, own 4, 7 above: 2.  v2: 2 4 0 0, own 0, 2 and 4 above, one
    # tie: 3.5.  v3: 3 1 6 5, own 5, 6 above: 2
    assert v2t.ranks.tolist() == [2, 2, 3.5, 2]
    check(v2t.values(), R1=0, R5=100, R10=100, MedR=2, MeanR=9.5 / 4)


def test_eight_texts_of_four_videos() -> None:
    metrics = retrieval_metrics(TALL, text_video=OWNER)
    assert metrics.t2v.ranks.tolist() == [1, 3, 1.5, 1, 3, 2, 1.5, 3]
    # R@1: 1 + 0 + 1/2 + 1 + 0 + 0 + 1/2 + 0 = 3 of 8.  MedR: 1 1 1.5 1.5 | 2 3 3 3 -> 1.75.  MeanR: 16 / 8
    check(metrics.t2v.values(), R1=37.5, R5=100, R10=100, MedR=1.75, MeanR=2)


def test_videos_rank_groups_of_captions_by_their_best() -> None:
    v2t = retrieval_metrics(TALL, text_video=OWNER).v2t
    # best of each group:    g0  g1  g2  g3
    #   video 0               9   6   1   8    own 9                 1
    #   video 1               7   8   9   1    own 8: 9 above        2
    #   video 2               5   6   4   7    own 4: 5, 6, 7 above  4
    #   video 3               2   5   4   6    own 6                 1
    assert v2t.ranks.tolist() == [1, 2, 4, 1]
    check(v2t.values(), R1=50, R5=100, R10=100, MedR=1.5, MeanR=2)
    assert (v2t.num_queries, v2t.num_gallery) == (4, 4)


def test_videos_rank_single_captions_and_any_own_one_counts() -> None:
    v2t_any = retrieval_metrics(TALL, text_video=OWNER).v2t_any
    assert v2t_any is not None
    # video 0: 9 4 7 2 6 1 0 8, own 9                                                        1
    # video 1: 3 6 7 8 5 9 2 1, own 8: 9 above                                               2
    # video 2: 1 5 0 6 6 3 4 7, own 4: 5 6 6 7 above                                         5
    # video 3: 2 2 1 5 4 2 4 6, own 6                                                        1
    assert v2t_any.ranks.tolist() == [1, 2, 5, 1]
    check(v2t_any.values(), R1=50, R5=100, R10=100, MedR=1.5, MeanR=9 / 4)
    assert (v2t_any.num_queries, v2t_any.num_gallery) == (4, 8)


def test_many_positives_a_query_by_hand() -> None:
    # text 0 may find 4 or 6: 6 is best, 7 above.  Text 1 may find 0, 4, 5: its 6 leads.  Text 2 may find all: 1.
    # Text 3 may find 4 and 5, both 5: three wrong 5s beside two right ones, at 1 + 3 / (2 + 1)
    ranking = rank_queries(WIDE, [[4, 6], [0, 4, 5], range(8), [4, 5]])
    assert ranking.values().tolist() == [2, 1, 1, 2]
    # the first of five equals is one of the two right ones with probability 2/5: (0 + 1 + 1 + 2/5) / 4
    check(direction_metrics(ranking).values(), R1=60, R5=100, R10=100, MedR=1.5, MeanR=1.5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_embeddings_with_these_products_give_these_numbers(dtype: str) -> None:
    # video j is the unit vector e_j, so that the product of a text with it is the text's entry j
    def values(metrics: RetrievalMetrics) -> dict[str, dict[str, float]]:
        return {name: direction.values() for name, direction in metrics.directions().items()}

    for scores, owner in ((WIDE, np.arange(4)), (TALL, OWNER)):
        ours = embedding_metrics(scores.astype(dtype), np.eye(scores.shape[1], dtype=dtype), text_video=owner)
        assert values(ours) == values(retrieval_metrics(scores, text_video=owner))

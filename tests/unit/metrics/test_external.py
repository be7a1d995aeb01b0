"""Other people's scores: fused, ranked with any positives, and the same numbers from a matrix as from embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from conical.core.errors import DataError
from conical.metrics import dual_softmax, retrieval_metrics
from conical.metrics.external import dot_products, fuse, score_embeddings, score_similarity, unit_rows

A = np.array([[0.9, 0.1, 0.3], [0.8, 0.5, 0.7], [0.2, 0.4, 0.6]])
B = np.array([[0.0, 0.2, 0.1], [0.1, 0.9, 0.2], [0.3, 0.1, 0.2]])


def test_fusion_by_hand() -> None:
    # row 1 of A ranks its video third; 0.5 A + 0.5 B gives 0.45, 0.70, 0.45: first
    assert score_similarity(A)["t2v"].ranks.tolist() == [1, 3, 1]
    fused = fuse([A, B], [0.5, 0.5])
    assert fused[1].tolist() == pytest.approx([0.45, 0.70, 0.45])
    assert score_similarity(fused)["t2v"].ranks.tolist() == [1, 1, 1]


def test_half_precision_is_fused_in_float32() -> None:
    half = np.array([[2048.0]], dtype=np.float16)
    total = fuse([half, np.array([[1.0]], dtype=np.float16)], [1.0, 1.0])
    assert (total.dtype, total.item()) == (np.float32, 2049.0)


@pytest.mark.parametrize(
    ("matrices", "weights", "message"),
    [
        ([A, B[:2]], [1, 1], "must have one shape, got 3 x 3, 2 x 3: the same queries and gallery"),
        ([A, B], [1], "one weight for each of the 2 matrices, got 1"),
        ([A, B], [1, float("nan")], "must be finite and not all 0, got 1, nan"),
        ([A, B], [0, 0], "must be finite and not all 0, got 0, 0"),
    ],
)
def test_fusion_refuses(matrices: list[np.ndarray], weights: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fuse(matrices, weights)


def test_infinity_less_infinity_is_refused_by_its_row() -> None:
    infinite = A.copy()
    infinite[2, 0] = np.inf
    with pytest.raises(ValueError, match="similarity must hold no NaN, got one in row 2"):
        score_similarity(fuse([infinite, infinite], [1.0, -1.0]))


def test_one_video_a_text_gives_both_rules_of_v2t() -> None:
    scored = score_similarity(A, [[0], [2], [2]])
    whole = retrieval_metrics(A, text_video=np.array([0, 2, 2])).directions()
    assert list(scored) == list(whole) == ["t2v", "v2t", "v2t_any"]
    assert all(scored[name].values() == whole[name].values() for name in whole)


def test_several_videos_a_text_by_hand() -> None:
    positives = [[0, 1], [1], [1, 0]]
    scored = score_similarity(A, positives)
    # texts: 0.9 is best: 1;  0.8 and 0.7 above 0.5: 3;  own 0.4, 0.2; 0.6 above: 2
    assert scored["t2v"].ranks.tolist() == [1, 3, 2]
    # video 0, column 0.9 0.8 0.2, own texts 0 and 2: 1.  Video 1, column 0.1 0.5 0.4, all own: 1.  Video 2 has none
    assert scored["v2t_any"].ranks.tolist() == [1, 1]
    assert list(scored) == ["t2v", "v2t_any"]
    assert scored["v2t_any"].num_gallery == 3


def test_rescoring_meets_several_videos_a_text_too() -> None:
    positives = [[0, 1], [1], [1, 0]]
    scored = score_similarity(A, positives, rescore=dual_softmax)
    by_hand = dual_softmax(A.T)[0]
    better = max(by_hand[0], by_hand[2])
    assert scored["v2t_any"].ranks[0] == 1 + (by_hand[1] > better)
    assert scored["t2v"].ranks.tolist() == score_similarity(dual_softmax(A), positives)["t2v"].ranks.tolist()


@pytest.mark.parametrize("positives", [None, [[0], [2], [2]], [[0, 1], [1], [1, 0]]])
def test_embeddings_give_what_their_matrix_gives(positives: list[list[int]] | None) -> None:
    rng = np.random.default_rng(0)
    text, video = rng.integers(1, 4, size=(3, 5)), rng.integers(1, 4, size=(3, 5))
    ours = score_embeddings(text, video, positives, num_resamples=20, seed=1)
    whole = score_similarity(dot_products(text, video), positives, num_resamples=20, seed=1)
    assert list(ours) == list(whole)
    for name, direction in ours.items():
        assert direction.values() == whole[name].values()
        assert direction.metrics == whole[name].metrics


def test_unit_rows_have_length_one() -> None:
    assert unit_rows("text", np.array([[3, 4], [0, 2]])).tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 1]]))
    with pytest.raises(ValueError, match="text must have finite rows that are not zero, got row 1"):
        unit_rows("text", np.array([[3.0, 4.0], [0.0, 0.0]]))


def test_a_matrix_too_large_to_rescore_is_refused() -> None:
    large = np.broadcast_to(np.float32(1), (40_000, 1))
    with pytest.raises(DataError, match=r"the whole matrix, and 40000 x 40000 is more than .*: leave"):
        dot_products(large, large)

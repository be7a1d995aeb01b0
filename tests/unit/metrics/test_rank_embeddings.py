"""Ranks from embeddings equal the ranks of the whole matrix, whatever the tiles, and never hold it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import conical
from conical.metrics import (
    Ranking,
    embedding_metrics,
    rank_both_directions,
    rank_embeddings,
    rank_queries,
    require_unique_ids,
    retrieval_metrics,
)

TEXT = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
VIDEO = np.array([[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]])


def counts_of(ranking: Ranking) -> list[tuple[int, int, int]]:
    return list(zip(ranking.better.tolist(), ranking.tied.tolist(), ranking.positives_tied.tolist(), strict=True))


def slow_counts(scores: Sequence[float], own: Collection[int]) -> tuple[int, int, int]:
    """What stands before and beside the best own score, one score at a time."""
    best = max(scores[column] for column in own)
    wrong = [score for column, score in enumerate(scores) if column not in own]
    return (
        sum(score > best for score in wrong),
        sum(score == best for score in wrong),
        sum(scores[column] == best for column in own),
    )


def whole_numbers(seed: int, rows: int) -> np.ndarray:
    """Embeddings whose products are exact in any order of additions, and often equal; no row is zero."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.integers(-1, 2, size=(rows, 3)), np.ones((rows, 1), dtype=int)], axis=1)


def test_both_directions_by_hand() -> None:
    # scores, texts down, videos across; owners 1, 2, 0, 2
    #   0.80 1.00 0.00     text 0: own 1.00, nothing above                      1
    #   0.96 0.60 0.80     text 1: own 0.80, 0.96 above                         2
    #   1.00 0.80 0.60     text 2: own 1.00                                     1
    #   0.60 0.00 1.00     text 3: own 1.00                                     1
    found = rank_both_directions(TEXT, VIDEO, text_video=np.array([1, 2, 0, 2]))
    assert found.t2v.values().tolist() == [1, 2, 1, 1]
    # video 0: own text 2 with 1.00; groups of 1 and 2 reach 0.80 and 0.96: 1, and no single text is above: 1
    # video 1: own text 0 with 1.00: 1.  video 2: own texts 1 and 3, best 1.00: 1
    assert found.v2t.values().tolist() == [1, 1, 1]
    assert found.v2t_any is not None
    assert found.v2t_any.values().tolist() == [1, 1, 1]
    assert (found.t2v.num_gallery, found.v2t.num_gallery, found.v2t_any.num_gallery) == (3, 3, 4)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 6),
    st.sampled_from([1, 2, 3, 5, 7, 64]),
    st.sampled_from(["float16", "float32", "float64", "int64"]),
)
def test_both_directions_equal_a_loop_over_single_scores(
    seed: int, texts: int, videos: int, tile: int, dtype: str
) -> None:
    text, video = whole_numbers(seed, texts), whole_numbers(seed + 1, videos)
    owner = np.random.default_rng(seed).integers(videos, size=texts)
    found = rank_both_directions(text.astype(dtype), video.astype(dtype), text_video=owner, tile=tile)
    scores = (text @ video.T).tolist()
    assert counts_of(found.t2v) == [slow_counts(row, {own}) for row, own in zip(scores, owner.tolist(), strict=True)]

    asked = sorted(set(owner.tolist()))
    groups = [[text for text in range(texts) if owner[text] == video] for video in asked]
    single = [[scores[text][video] for text in range(texts)] for video in asked]
    by_group = [[max(column[text] for text in group) for group in groups] for column in single]
    assert counts_of(found.v2t) == [slow_counts(row, {number}) for number, row in enumerate(by_group)]
    assert found.v2t.num_gallery == len(asked)
    if len(asked) == texts:
        assert found.v2t_any is None
    else:
        assert found.v2t_any is not None
        assert counts_of(found.v2t_any) == [slow_counts(*pair) for pair in zip(single, groups, strict=True)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 4, 64]))
def test_several_positives_equal_the_whole_matrix(seed: int, queries: int, gallery: int, tile: int) -> None:
    rng = np.random.default_rng(seed)
    text, video = whole_numbers(seed, queries), whole_numbers(seed + 1, gallery)
    positives = [rng.choice(gallery, size=rng.integers(1, gallery + 1), replace=False) for _ in range(queries)]
    found = rank_embeddings(text, video, positives, tile=tile)
    assert counts_of(found) == counts_of(rank_queries(text @ video.T, positives))


def product_in_tiles(text: np.ndarray, video: np.ndarray, tile: int) -> np.ndarray:
    """The whole float32 matrix, each tile filled up with zero rows to one shape."""
    padded = [np.pad(part.astype(np.float32), ((0, -len(part) % tile), (0, 0))) for part in (text, video)]
    left, right = (torch.from_numpy(part) for part in padded)
    rows = [torch.cat([a @ b.T for b in right.split(tile)], dim=1) for a in left.split(tile)]
    return torch.cat(rows)[: len(text), : len(video)].numpy()


@pytest.mark.parametrize("tile", [7, 64, 1024])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_real_embeddings_give_the_ranks_of_the_matrix_of_the_same_tiles(tile: int, dtype: str) -> None:
    # no tolerance: one rounding difference between a correct pair's score and its competitors' would show as a rank
    rng = np.random.default_rng(0)
    owner = np.sort(rng.integers(90, size=300))
    video = rng.normal(size=(100, 33)).astype(dtype)
    text = (video[owner] + rng.normal(size=(300, 33)).astype(dtype)).astype(dtype)
    found = rank_both_directions(text, video, text_video=owner, tile=tile)
    whole = retrieval_metrics(product_in_tiles(text, video, tile), text_video=owner, num_resamples=1)
    assert counts_of(found.t2v) == counts_of(whole.t2v.ranking)
    assert counts_of(found.v2t) == counts_of(whole.v2t.ranking)
    assert found.v2t_any is not None
    assert whole.v2t_any is not None
    assert counts_of(found.v2t_any) == counts_of(whole.v2t_any.ranking)


@pytest.mark.parametrize("dim", [3, 16, 100, 512, 513])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_video_that_stands_twice_ties_with_itself(dim: int, dtype: torch.dtype) -> None:
    # the copies stand at odd places of different tiles; float64 products would round by the place
    generator = torch.Generator().manual_seed(dim)
    video = torch.randn(700, dim, generator=generator).to(dtype)
    text = torch.randn(700, dim, generator=generator).to(dtype)
    order = torch.randperm(700, generator=generator)
    ranking = rank_embeddings(text, torch.cat([video, video[order]]))
    once = rank_embeddings(text, video)
    assert (ranking.tied >= 1).all()
    if dtype == torch.float32 and dim > 3:
        assert (ranking.tied == 1).all()
    assert ranking.better.tolist() == (2 * once.better).tolist()


def test_half_precision_is_widened_before_the_product() -> None:
    # 2048 + 1 is 2048 in float16: the second video would tie
    video = np.array([[2048.0, 0.0], [2048.0, 1.0]], dtype=np.float16)
    found = rank_embeddings(np.ones((2, 2), dtype=np.float16), video)
    assert counts_of(found) == [(1, 0, 1), (0, 0, 1)]


def test_metrics_of_embeddings_are_those_of_their_matrix() -> None:
    owner = np.array([0, 0, 1, 2, 2, 2])
    text, video = whole_numbers(3, 6), whole_numbers(4, 4)
    sources = np.array([0, 0, 1, 2])
    ours = embedding_metrics(text, video, text_video=owner, video_groups=sources, num_resamples=50, seed=3)
    whole = retrieval_metrics(text @ video.T, text_video=owner, video_groups=sources, num_resamples=50, seed=3)
    assert list(ours.directions()) == list(whole.directions()) == ["t2v", "v2t", "v2t_any"]
    for name, direction in ours.directions().items():
        assert direction.values() == whole.directions()[name].values()
        assert direction.metrics == whole.directions()[name].metrics
    assert embedding_metrics(np.eye(3), np.eye(3)).v2t_any is None


def test_embeddings_are_left_as_they_are() -> None:
    text, video = TEXT.astype(np.float32), VIDEO.astype(np.float32)
    frozen = text.copy()
    frozen.flags.writeable = False  # as out of a memory map
    assert rank_embeddings(frozen, video, [[1], [2], [0], [2]]).values().tolist() == [1, 2, 1, 1]
    rank_embeddings(text, video, np.array([1, 2, 0, 2]))
    assert (text == TEXT.astype(np.float32)).all()
    assert (video == VIDEO.astype(np.float32)).all()


_MEMORY = """
import resource
import torch
from conical.metrics import rank_both_directions
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
embeddings = torch.randn(16384, 2, generator=torch.Generator().manual_seed(0))
rank_both_directions(embeddings[:2048], embeddings[:2048])
before = peak()
rank_both_directions(embeddings, embeddings)
print(peak() - before)
"""


def test_the_whole_matrix_is_never_in_memory() -> None:
    # 16,384 x 16,384 float32 are 1,074 MB
    environment = {"PYTHONPATH": str(Path(conical.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100_000, "kilobytes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": np.ones(3)}, r"text must be \(row, dim\) with at least one of each, got shape \(3,\)"),
        ({"video": np.ones((0, 2))}, r"video must be \(row, dim\) with at least one of each, got shape \(0, 2\)"),
        ({"video": np.ones((4, 3))}, "text and video must have the same dim, got 2 and 3"),
        ({"tile": 0}, "tile must be >= 1, got 0"),
        ({"video": VIDEO}, "there are 4 texts and 3 videos: give text_video"),
        (
            {"text": np.array([[1, 0], [np.nan, 0]])},
            "text must have finite rows .* got row 1 of norm nan: look at",
        ),
        ({"text": np.array([[np.inf, 0]])}, "text must have finite rows that are not zero, got row 0 of norm inf"),
        ({"text": np.array([[1e200, 0]])}, "text must have finite rows that are not zero, got row 0 of norm inf"),
        (
            {"video": np.vstack([TEXT, [[0, 0]]])},
            "video must have finite rows .* got row 4 of only zeros: drop",
        ),
        ({"text_ids": ["a", "b", "a", "c"]}, r"text_ids must not repeat, got 'a' 2 times \(first at row 0\)"),
        ({"video_ids": np.array([5, 6, 7, -1])}, "video_ids must name something, got -1 at row 3: drop the padding"),
    ],
)
def test_both_directions_refuse(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_both_directions(**({"text": TEXT, "video": TEXT} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query_ids": [1, 2, 3]}, "query_ids must be one for each of the 4 rows, got 3"),
        ({"gallery_ids": ["a", "b", "", "c"]}, "gallery_ids must name something, got '' at row 2"),
        ({"positives": [[0], [1], [2], [9]]}, r"positives of query 3 must be columns 0 to 3, got \[9\]"),
        ({"positives": np.array([0, 1, 2, 9])}, r"positives of query 3 must be columns 0 to 3, got \[9\]"),
    ],
)
def test_rank_embeddings_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_embeddings(**({"queries": TEXT, "gallery": TEXT} | arguments))


@pytest.mark.parametrize("ids", [None, ["b", "a"], np.array([3, 0]), ("a", "A")])
def test_different_ids_are_accepted(ids: object) -> None:
    require_unique_ids("ids", ids, count=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [["a", None], ["x", "x"]])
def test_padded_and_repeated_ids_are_refused_for_matrices_too(ids: list[object]) -> None:
    with pytest.raises(ValueError, match="video_ids must n"):
        retrieval_metrics(np.eye(2), video_ids=ids)
    with pytest.raises(ValueError, match="text_ids must n"):
        retrieval_metrics(np.eye(2), text_ids=ids)

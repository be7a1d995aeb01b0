"""The benchmark of ranks compares ways that agree, and says all that its page needs. No time is asserted."""

from __future__ import annotations

import pytest
import torch

from conical.metrics import rank_both_directions
from conical.workbench.bench import ranking_speed as bench


def test_the_argsort_recipe_and_ours_agree_where_there_are_no_ties() -> None:
    text, video = bench.make_embeddings(200)
    t2v, v2t = bench.argsort_ranks(text, video)
    found = rank_both_directions(text, video)
    assert t2v.tolist() == found.t2v.values().tolist()
    assert v2t.tolist() == found.v2t.values().tolist()
    assert 1 < t2v.mean() < 100, "neither trivial nor chance"


def test_embeddings_are_unit_vectors_and_the_same_each_time() -> None:
    (text, video), again = bench.make_embeddings(50), bench.make_embeddings(50)
    assert torch.allclose(text.norm(dim=1), torch.ones(50))
    assert torch.allclose(video.norm(dim=1), torch.ones(50))
    assert torch.equal(text, again[0])


def test_a_result_holds_times_ratios_and_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_in_own_process", lambda way, size, repeats: bench._measure(way, size, repeats, 1))
    monkeypatch.setattr(bench, "_LARGEST_FOR_ARGSORT", 40)
    result = bench.bench_metrics((40, 60))["sizes"]
    ways = {"product_alone", "ranks_t2v", "ranks_both_directions", "intervals_both_directions"}
    assert set(result["40"]["seconds"]) == ways | {"argsort_both_directions"}
    assert set(result["60"]["seconds"]) == ways
    assert set(result["60"]["ratio_to_product_alone"]) == {"ranks_t2v", "ranks_both_directions"}
    limit, both = (result["60"]["seconds"][way] for way in ("product_alone", "ranks_both_directions"))
    assert result["60"]["ratio_to_product_alone"]["ranks_both_directions"] == both / limit
    assert result["60"]["gflop_per_second"] == pytest.approx(2 * 60 * 60 * bench.DIM / limit / 1e9)
    assert result["60"]["peak_memory_mb"]["embeddings_alone"] > 10

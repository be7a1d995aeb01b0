"""BatchNorm over two gloo ranks gives what one process gives: values, gradients, running statistics, weights."""

from __future__ import annotations

import pytest
import torch

from distributed import batch_norm_worker
from distributed.test_gather import run_ranks

RANKS = 2
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(RANKS, tmp_path_factory.mktemp("ranks"), program=batch_norm_worker.__file__)


@pytest.fixture(scope="module")
def one_process() -> dict[str, torch.Tensor]:
    """With torch's own layers."""
    return batch_norm_worker.train(is_synced=False)


def largest_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], prefix: str) -> float:
    """Largest difference, as a share of the largest value."""
    names = [name for name in expected if name.startswith(prefix)]
    assert names
    return max(
        ((found[name] - expected[name]).abs().max() / expected[name].abs().max().clamp_min(1e-3)).item()
        for name in names
    )


@pytest.mark.parametrize("what", ["value", "input", "grad/", "buffer/", "trained/", "evaluated"])
def test_two_ranks_give_what_one_process_gives(results: list[dict], one_process, what: str) -> None:
    for result in results:
        assert largest_difference(result["synced"], one_process, what) < TOLERANCE


def test_the_layers_of_each_rank_alone_do_not(results: list[dict], one_process) -> None:
    # so that the equality above means something
    for result in results:
        for what in ("value", "input", "grad/"):
            assert largest_difference(result["alone"], one_process, what) > 0.01


def test_the_values_compared_are_not_small(one_process) -> None:
    names = [name for name in one_process if name.startswith("grad/") or name == "input"]
    assert all(one_process[name].abs().max() > 1e-3 for name in names)


def test_the_sum_over_ranks_and_its_gradient(results: list[dict]) -> None:
    for result in results:
        assert result["other"]["total"].tolist() == [3.0, 4.0]
        assert result["other"]["gradient"].tolist() == [3.0, 30.0]  # 1 and 2 times (1, 10), by rank


def test_bfloat16_rows_are_normalised_at_full_precision_and_stay_bfloat16(results: list[dict]) -> None:
    rows = torch.cat([result["other"]["half"] for result in results])
    assert rows.dtype == torch.bfloat16
    # a variance as the mean square minus the squared mean would be lost at 100
    torch.testing.assert_close(rows.float().mean(0), torch.zeros(3), atol=0.02, rtol=0)
    torch.testing.assert_close(rows.float().std(0, correction=0), torch.ones(3), atol=0.02, rtol=0)


def test_in_evaluation_the_layer_is_torchs_own(results: list[dict]) -> None:
    for result in results:
        assert not result["other"]["held"].any()
        assert not result["other"]["held_mean"].any()

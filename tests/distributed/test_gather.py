"""N gloo ranks give the loss and the gradient of one process, and a gather that does not is found out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conical.distributed import gather, gather_rows, gather_with_grad, mean_over_ranks, rank, world_size
from distributed import gloo_worker

PLATFORM = Path(__file__).parents[2] / "platform"
TOLERANCE = 1e-6


def run_ranks(
    ranks: int, folder: Path, *, program: str = gloo_worker.__file__
) -> list[dict[str, dict[str, torch.Tensor]]]:
    """Start the ranks, wait, and load what each wrote."""
    paths = os.pathsep.join([str(PLATFORM), str(PLATFORM.parent / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    if Path("/sys/class/net/lo").exists():
        # otherwise gloo looks the host's name up, which a sandbox may not resolve
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    processes = [
        subprocess.Popen(
            [sys.executable, program, str(number), str(ranks), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(ranks)
    ]
    try:
        outputs = [process.communicate(timeout=180)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return [torch.load(folder / f"rank{number}.pt", weights_only=True) for number in range(ranks)]


@pytest.fixture(scope="module", params=[2, 3])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(request.param, tmp_path_factory.mktemp(f"ranks{request.param}"))


@pytest.fixture(scope="module")
def one_process() -> dict[str, torch.Tensor]:
    return gloo_worker.train(gather_with_grad, num_steps=3)


def largest_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], prefix: str) -> float:
    names = [name for name in expected if name.startswith(prefix)]
    assert names
    return max((found[name] - expected[name]).abs().max().item() for name in names)


def test_ranks_give_the_loss_of_one_process(results: list[dict], one_process: dict[str, torch.Tensor]) -> None:
    for result in results:
        assert largest_difference(result["with_grad"], one_process, "loss") < TOLERANCE


def test_ranks_give_the_gradient_of_one_process(results: list[dict], one_process: dict[str, torch.Tensor]) -> None:
    for result in results:
        assert largest_difference(result["with_grad"], one_process, "grad/") < TOLERANCE


def test_ranks_train_to_the_weights_of_one_process(results: list[dict], one_process: dict[str, torch.Tensor]) -> None:
    for result in results:
        assert largest_difference(result["with_grad"], one_process, "trained/") < 3 * TOLERANCE


def test_the_gradients_compared_are_not_small(one_process: dict[str, torch.Tensor]) -> None:
    assert all(one_process[name].abs().max() > 1e-3 for name in one_process if name.startswith("grad/"))


def test_a_gather_without_gradient_has_the_right_loss_and_fails_the_gradient_check(
    results: list[dict], one_process: dict[str, torch.Tensor]
) -> None:
    for result in results:
        assert largest_difference(result["own_only"], one_process, "loss") < TOLERANCE
        assert largest_difference(result["own_only"], one_process, "grad/") > 1000 * TOLERANCE
        # 1/N of it, except for the scale, which acts after the gather
        for name, gradient in one_process.items():
            if name.startswith(("grad/text", "grad/video")):
                assert torch.allclose(result["own_only"][name] * len(results), gradient, atol=3 * TOLERANCE)


def test_masks_reach_across_ranks(one_process: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    # so that the equality above would notice ids that were not gathered
    monkeypatch.setattr(gloo_worker, "VIDEO_IDS", torch.arange(gloo_worker.BATCH))
    unmasked = gloo_worker.train(gather_with_grad, num_steps=1)
    assert abs(unmasked["loss"] - one_process["loss"]) > 1000 * TOLERANCE


def test_unequal_rows_are_gathered_in_rank_order(results: list[dict]) -> None:
    expected = [value for number in range(len(results)) for value in range(100 * number, 102 * number)]
    for result in results:
        assert result["other"]["uneven"].squeeze(1).tolist() == expected
        assert result["other"]["empty"].shape == (0, 3)
        # one row of rank 0, then 2, 3, ... of the others
        assert result["other"]["bools"].tolist() == [True] + [False] * (sum(range(1, len(results) + 1)) - 1)


def test_equal_rows_are_gathered_in_rank_order(results: list[dict]) -> None:
    expected = [value for number in range(len(results)) for value in (number, 10 + number)]
    for result in results:
        assert result["other"]["ids"].tolist() == expected


def test_the_mean_is_over_ranks(results: list[dict]) -> None:
    for result in results:
        assert result["other"]["mean"].tolist() == [(len(results) - 1) / 2, 1.0]


def test_gather_refuses_unequal_rows_on_each_rank(results: list[dict]) -> None:
    counts = [2 * number for number in range(len(results))]
    for result in results:
        message = bytes(result["other"]["refusal"].tolist()).decode()
        assert f"gather needs as many rows on each rank, got {counts} by rank" in message
        assert "use gather_rows" in message


def test_without_a_process_group_all_is_the_identity() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert gather_with_grad(x) is x
    assert not gather(x).requires_grad
    assert torch.equal(gather_rows(x), x)
    assert mean_over_ranks(x).tolist() == x.tolist()
    assert (rank(), world_size()) == (0, 1)


@pytest.mark.parametrize("function", [gather, gather_rows])
def test_a_scalar_has_no_rows_to_gather(function: object) -> None:
    with pytest.raises(ValueError, match="gather needs a tensor with rows, got a scalar"):
        function(torch.tensor(1.0))  # type: ignore[operator]

"""1, 2 and 4 workers train alike, with each kind of loss and head, whole and in chunks, and go on for each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distributed import training_worker
from distributed.test_gather import run_ranks
from distributed.training_worker import CASES, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {case: run(case, folder) for case in CASES}


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    own = tmp_path_factory.mktemp(f"of{request.param}")
    return own, run_ranks(request.param, own, program=training_worker.__file__)


@pytest.mark.parametrize("case", CASES)
def test_ranks_train_as_one_process_does(ranks, alone, case: str) -> None:
    if case not in ranks[1][0]:
        pytest.skip("four ranks run the cases whose features differ in kind")
    expected = alone[case]
    # the loss and the gradient of the first step, then what four steps of training made of their rounding
    for of_rank in ranks[1]:
        for name, values in of_rank[case].items():
            if name.startswith("step/"):
                assert values[0] == pytest.approx(float(expected[name][0]), abs=2e-5, rel=2e-5), name
                assert values.tolist() == pytest.approx(expected[name].tolist(), abs=3e-3, rel=3e-3), name
    assert expected["step/grad_norm"].min() > 1e-3
    assert len(expected["step/loss"]) == 4


@pytest.mark.parametrize("case", ["ceo, learnt scales", "ceo in chunks", "words"])
def test_a_checkpoint_of_many_ranks_goes_on_in_one(ranks, alone, folder: Path, case: str) -> None:
    own, of_ranks = ranks
    if case not in of_ranks[0]:
        pytest.skip("four ranks run the cases whose features differ in kind")
    rest = run(case, folder, resume_from=own / f"{case}-{len(of_ranks)}" / "1")
    assert rest["step/step"].tolist() == [2, 3]
    assert rest["step/loss"].tolist() == pytest.approx(alone[case]["step/loss"][2:].tolist(), abs=3e-3, rel=3e-3)
    assert rest["step/loss"].tolist() == pytest.approx(of_ranks[0][case]["step/loss"][2:].tolist(), abs=3e-3, rel=3e-3)

"""The moving average by hand, its resumption, and weights that come back to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conical.core.errors import StoreError
from conical.engine.moving_average import MovingAverage


def scalar(value: float) -> nn.Module:
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor(value, dtype=torch.float64))
    return module


def set_weight(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)


def averaged(average: MovingAverage) -> float:
    return average.state_dict()["average.weight"].item()


def test_the_first_updates_by_hand() -> None:
    module = scalar(1.0)
    average = MovingAverage(module, decay=0.2)
    assert averaged(average) == 1.0
    set_weight(module, 3.0)
    average.update()  # d = 2/11
    assert averaged(average) == pytest.approx(2 / 11 * 1 + 9 / 11 * 3)
    set_weight(module, -1.0)
    average.update()  # 3/12 is above 0.2
    assert averaged(average) == pytest.approx(0.2 * (29 / 11) + 0.8 * -1)


def test_many_updates_are_the_weighted_sum_of_the_formula() -> None:
    module, values = scalar(5.0), [float(number**2 % 7) for number in range(40)]
    average = MovingAverage(module, decay=0.7)
    for value in values:
        set_weight(module, value)
        average.update()
    decays = [min(0.7, (1 + t) / (10 + t)) for t in range(1, 41)]
    expected, left = 0.0, 1.0
    for value, decay in zip(reversed(values), reversed(decays), strict=True):
        expected += left * (1 - decay) * value
        left *= decay
    assert averaged(average) == pytest.approx(expected + left * 5.0, abs=1e-12)


def test_a_short_run_forgets_its_start() -> None:
    module = scalar(1.0)
    average = MovingAverage(module, decay=0.999)
    set_weight(module, 0.0)
    for _ in range(50):
        average.update()
    assert 0 < averaged(average) < 1e-6


def tower() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    module(torch.randn(8, 4, generator=generator))  # moves the running statistics
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_swapped_weights_come_back_to_the_bit() -> None:
    module = tower()
    average = MovingAverage(module, decay=0.9)
    for seed in range(3):
        step(module, seed)
        average.update()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    identities = [id(parameter) for parameter in module.parameters()]
    averages = average.state_dict()
    with average.swapped():
        inside = module.state_dict()
        for name, _ in module.named_parameters():
            assert torch.equal(inside[name], averages[f"average.{name}"])
            assert not torch.equal(inside[name], before[name])
        assert torch.equal(inside["1.running_mean"], before["1.running_mean"])
        module(torch.randn(8, 4))  # in training mode: moves the running statistics
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert identities == [id(parameter) for parameter in module.parameters()]
    assert all(torch.equal(value, averages[name]) for name, value in average.state_dict().items())


def test_weights_come_back_after_an_error() -> None:
    module = scalar(1.0)
    average = MovingAverage(module, decay=0.5)
    set_weight(module, 2.0)
    average.update()

    def fail() -> None:
        assert module.weight.item() != 2.0
        raise KeyError

    with pytest.raises(KeyError), average.swapped():
        fail()
    assert module.weight.item() == 2.0
    with average.swapped():  # and it can be used again
        assert module.weight.item() != 2.0


def test_an_optimiser_goes_on_with_the_same_parameters() -> None:
    module = scalar(1.0)
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    average = MovingAverage(module, decay=0.5)
    with average.swapped():
        pass
    module.weight.square().backward()
    optimiser.step()
    assert module.weight.item() == -1.0


def test_frozen_parameters_are_not_kept() -> None:
    module = tower()
    module[0].requires_grad_(False)
    names = set(MovingAverage(module, decay=0.9).state_dict())
    assert names == {"num_updates"} | {f"average.{layer}.{part}" for layer in (1, 2) for part in ("weight", "bias")}


def test_a_resumed_run_equals_an_undisturbed_one() -> None:
    whole = tower()
    average = MovingAverage(whole, decay=0.6)
    for seed in range(8):
        step(whole, seed)
        average.update()
        if seed == 3:
            weights = {name: value.clone() for name, value in whole.state_dict().items()}
            stored = average.state_dict()
    resumed = tower()
    resumed.load_state_dict(weights)
    again = MovingAverage(resumed, decay=0.6)
    again.load_state_dict(stored)
    for seed in range(4, 8):
        step(resumed, seed)
        again.update()
    expected = average.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())
    assert again.state_dict()["num_updates"] == 8


def test_a_state_is_a_copy() -> None:
    module = scalar(1.0)
    average = MovingAverage(module, decay=0.5)
    state = average.state_dict()
    set_weight(module, 2.0)
    average.update()
    assert state["average.weight"].item() == 1.0
    average.load_state_dict(state)
    average.update()
    assert state["average.weight"].item() == 1.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("average.0.bias"), "average.0.bias"),
        (lambda state: state.update({"average.3.bias": torch.zeros(1)}), "average.3.bias"),
        (lambda state: state.update({"average.2.weight": torch.zeros(3, 4)}), "average.2.weight"),
        (lambda state: state.pop("num_updates"), "num_updates"),
    ],
)
def test_a_state_of_other_parameters_is_refused_and_nothing_changes(change, named: str) -> None:
    average = MovingAverage(tower(), decay=0.5)
    state = {name: value + 1 for name, value in average.state_dict().items()}
    change(state)
    before = average.state_dict()
    with pytest.raises(StoreError, match=f"moving average does not fit what is trained, first at '{named}': train"):
        average.load_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\), got"):
        MovingAverage(scalar(1.0), decay=decay)


def test_averages_are_neither_nested_nor_averaged() -> None:
    average = MovingAverage(scalar(1.0), decay=0.5)
    with average.swapped():
        with pytest.raises(AssertionError, match="update outside of `swapped`"):
            average.update()
        with pytest.raises(AssertionError, match="cannot be nested"), average.swapped():
            pass

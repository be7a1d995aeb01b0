"""BatchNorm layers held at their statistics, and turned into layers over all ranks, in one process."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d
from timm.layers.split_batchnorm import SplitBatchNorm2d
from torch import nn

from conical.core.errors import ConfigError
from conical.models.batch_norm import SyncedBatchNorm, hold_batch_norm, sync_batch_norm
from conical.models.dual_encoder import build_dual_encoder
from model_pairs import write_pair


class Holder(nn.Module):
    """As the module's docstring tells a model to do."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def train(self, mode: bool = True) -> Holder:
        super().train(mode)
        hold_batch_norm(self.tower)
        return self


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return build_dual_encoder(write_pair("timm and bert", tmp_path_factory.mktemp("pair")))


@pytest.fixture
def trunk(loaded) -> nn.Module:
    """A tower of timm's with BatchNorm."""
    return copy.deepcopy(loaded.clip.visual).train()


def frames(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def test_held_layers_keep_their_statistics_whatever_train_says(trunk) -> None:
    holder = Holder(trunk).train().eval().train()
    before = statistics(holder)
    assert len(before) > 10
    holder.tower(frames())
    assert all(torch.equal(value, before[name]) for name, value in statistics(holder).items())


def test_without_holding_they_move(trunk) -> None:
    before = statistics(trunk)
    trunk(frames())
    assert not any(torch.equal(value, before[name]) for name, value in statistics(trunk).items())


def test_rows_of_a_held_tower_do_not_depend_on_each_other(trunk) -> None:
    with torch.no_grad():
        mixed = trunk(frames())[:2] - trunk(frames()[:2])
        hold_batch_norm(trunk)
        held = trunk(frames())[:2] - trunk(frames()[:2])
    assert mixed.abs().max() > 1e-2
    assert held.abs().max() < 1e-5


def test_all_layers_are_held_and_nothing_else(trunk) -> None:
    names = hold_batch_norm(trunk)
    modules = dict(trunk.named_modules())
    assert names
    assert all(isinstance(modules[name], BatchNormAct2d) for name in names)
    assert [name for name, module in modules.items() if not module.training] == names


def test_the_drop_layer_inside_of_timms_layer_is_not_held() -> None:
    layer = BatchNormAct2d(2, drop_layer=nn.Dropout).train()
    assert hold_batch_norm(layer) == [""]
    assert not layer.training
    assert layer.drop.training


def test_gains_and_biases_of_held_layers_are_trained(trunk) -> None:
    names = hold_batch_norm(trunk)
    trunk(frames()).square().sum().backward()
    assert all(trunk.get_submodule(name).weight.grad.any() for name in names)


def test_frozen_variants_have_nothing_to_hold() -> None:
    module = nn.Sequential(FrozenBatchNormAct2d(2), nn.LayerNorm(2), nn.BatchNorm2d(2))
    assert hold_batch_norm(module) == ["2"]
    assert sync_batch_norm(module) == ["2"]
    assert isinstance(module[0], FrozenBatchNormAct2d)


def test_a_layer_without_statistics_cannot_be_held() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False))
    with pytest.raises(ConfigError, match="BatchNorm '0' cannot be held, since it keeps no running statistics"):
        hold_batch_norm(module)


def test_conversion_keeps_objects_names_parameters_and_buffers(trunk) -> None:
    modules, parameters, state = dict(trunk.named_modules()), dict(trunk.named_parameters()), trunk.state_dict()
    names = sync_batch_norm(trunk)
    assert all(isinstance(modules[name], SyncedBatchNorm) for name in names)
    assert list(trunk.named_modules()) == list(modules.items())
    assert all(value is parameters[name] for name, value in trunk.named_parameters())
    assert list(trunk.state_dict()) == list(state)
    assert sync_batch_norm(trunk) == names  # again changes nothing


@pytest.mark.parametrize("is_training", [True, False])
def test_in_one_process_a_converted_tower_computes_what_it_did(trunk, is_training: bool) -> None:
    trunk.train(is_training)
    converted = copy.deepcopy(trunk)
    sync_batch_norm(converted)
    expected, found = trunk(frames()), converted(frames())
    assert torch.equal(found, expected)
    for output in (expected, found):
        output.square().sum().backward()
    for one, other in zip(trunk.parameters(), converted.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    after = statistics(trunk)
    assert all(torch.equal(value, after[name]) for name, value in statistics(converted).items())


@pytest.mark.parametrize(
    "settings", [{"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"momentum": 0.5, "eps": 0.1}]
)
def test_each_setting_of_the_layer_is_kept(settings: dict[str, object]) -> None:
    layer = nn.BatchNorm1d(3, **settings)
    converted = copy.deepcopy(layer)
    sync_batch_norm(converted)
    for seed in range(3):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) + seed
        assert torch.equal(converted(x), layer(x))
    layer.eval()
    converted.eval()
    assert torch.equal(converted(x), layer(x))


def test_a_held_converted_layer_is_held() -> None:
    layer = nn.BatchNorm1d(3)
    sync_batch_norm(layer)
    layer.train()
    assert hold_batch_norm(layer) == [""]
    layer(torch.randn(4, 3))
    assert not layer.running_mean.any()


def test_a_layer_that_computes_something_else_is_refused_before_any_is_converted() -> None:
    module = nn.Sequential(nn.BatchNorm2d(4), SplitBatchNorm2d(4))
    with pytest.raises(ConfigError, match="BatchNorm '1' is a SplitBatchNorm2d, which cannot be synchronised: hold"):
        sync_batch_norm(module)
    assert type(module[0]) is nn.BatchNorm2d


def test_a_converted_tower_can_be_copied_and_loaded(trunk) -> None:
    sync_batch_norm(trunk)
    twin = copy.deepcopy(trunk)
    trunk(frames())
    twin.load_state_dict(trunk.state_dict())
    trunk.eval()
    twin.eval()
    assert torch.equal(twin(frames()), trunk(frames()))

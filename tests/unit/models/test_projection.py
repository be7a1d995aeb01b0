"""Projections: their shapes, their start, what they compute and what of their options is refused."""

from __future__ import annotations

import doctest
import math

import pytest
import torch

from conical.models import projection
from conical.models.projection import build_projection
from conical.models.projection_options import ProjectionOptions


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 3, 4)])
def test_all_but_the_last_dimension_stay(kind: str, shape: tuple[int, ...]) -> None:
    built = build_projection(ProjectionOptions(kind=kind, width=7, layer_norm=True), in_width=6)
    assert built(torch.randn(*shape, 6)).shape == (*shape, 7)


def test_none_changes_nothing() -> None:
    x = torch.randn(2, 6)
    built = build_projection(ProjectionOptions(width=7), in_width=6)
    assert built(x) is x
    assert list(built.parameters()) == []


def test_a_linear_projection_is_one_product() -> None:
    built = build_projection(ProjectionOptions(kind="linear", width=3), in_width=4)
    x = torch.randn(5, 4)
    ((name, weight),) = built.named_parameters()
    assert name == "linear.weight"
    expected = [[sum(float(x[n, i] * weight.detach()[o, i]) for i in range(4)) for o in range(3)] for n in range(5)]
    torch.testing.assert_close(built(x), torch.tensor(expected), atol=1e-6, rtol=0)


def test_an_mlp_is_two_layers_with_gelu_on_the_normalised_input() -> None:
    torch.manual_seed(0)
    built = build_projection(ProjectionOptions(kind="mlp", width=3, hidden_width=5, layer_norm=True), in_width=4)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # so that gains and biases count
    w = {name: value.detach().double() for name, value in built.named_parameters()}
    assert set(w) == {f"{part}.{what}" for part in ("norm", "hidden", "output") for what in ("weight", "bias")}
    x = torch.randn(4)
    mean = sum(float(value) for value in x) / 4
    std = math.sqrt(sum((float(value) - mean) ** 2 for value in x) / 4 + 1e-5)
    normed = [(float(x[i]) - mean) / std * w["norm.weight"][i] + w["norm.bias"][i] for i in range(4)]
    before = [sum(normed[i] * w["hidden.weight"][h, i] for i in range(4)) + w["hidden.bias"][h] for h in range(5)]
    hidden = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in before]
    expected = [sum(hidden[h] * w["output.weight"][o, h] for h in range(5)) + w["output.bias"][o] for o in range(3)]
    torch.testing.assert_close(built(x).double(), torch.stack(expected), atol=1e-6, rtol=0)


def test_the_hidden_layer_is_as_wide_as_the_output_unless_said() -> None:
    built = build_projection(ProjectionOptions(kind="mlp", width=3), in_width=4)
    assert built.get_parameter("hidden.weight").shape == (3, 4)
    assert built.get_parameter("output.weight").shape == (3, 3)


@pytest.mark.parametrize(("kind", "names"), [("linear", {"linear": 256}), ("mlp", {"hidden": 256, "output": 512})])
def test_matrices_start_normal_with_the_width_of_their_input_and_biases_at_zero(kind: str, names) -> None:
    torch.manual_seed(0)
    built = build_projection(ProjectionOptions(kind=kind, width=64, hidden_width=512 * (kind == "mlp")), in_width=256)
    for name, in_width in names.items():
        weight = built.get_parameter(f"{name}.weight") * in_width**0.5
        assert weight.std().item() == pytest.approx(1.0, rel=0.03)
        # kurtosis tells a normal from a uniform start (3 and 1.8)
        assert (weight**4).mean().item() / weight.var().item() ** 2 == pytest.approx(3.0, abs=0.2)
        if kind == "mlp":
            assert not built.get_parameter(f"{name}.bias").any()


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_gradient_reaches_each_parameter(kind: str) -> None:
    built = build_projection(ProjectionOptions(kind=kind, width=3, layer_norm=True), in_width=4)
    built(torch.randn(6, 4)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in built.parameters())


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_dropout_acts_in_training_only(kind: str) -> None:
    built = build_projection(ProjectionOptions(kind=kind, width=64, dropout=0.5), in_width=64)
    x = torch.randn(2, 64)
    assert not torch.equal(built(x), built(x))
    built.eval()
    assert torch.equal(built(x), built(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "liner"}, "kind must be one of none, linear, mlp; got 'liner'. Did you mean 'linear'?"),
        ({"kind": "linear", "width": 0}, "width must be >= 1, got 0"),
        ({"kind": "mlp", "hidden_width": -1}, "hidden_width must be >= 0, got -1"),
        ({"kind": "linear", "hidden_width": 8}, "hidden_width must be 0 for kind 'linear'"),
        ({"kind": "linear", "dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"layer_norm": True}, "layer_norm and dropout need kind 'linear' or 'mlp'"),
        ({"dropout": 0.1}, "layer_norm and dropout need kind 'linear' or 'mlp'"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectionOptions(**settings)  # type: ignore[arg-type]


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(projection).failed == 0

"""The transformer over frames against one layer at a time in loops, against open_clip's layers, and at its starts."""

from __future__ import annotations

import math

import open_clip.transformer
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from conical.core.errors import ConfigError
from conical.models.heads.frame_transformer import FrameLayer, FrameTransformer
from unit.models.heads.slow_maths import Vector, add, dot, layer_norm, linear, softmax

WIDTH, HEADS = 6, 2


def frames(num_clips: int = 2, num_frames: int = 3, width: int = WIDTH) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(0)
    return 3 * torch.randn(num_clips, num_frames, width, generator=numbers, dtype=torch.float64)


def built(**settings) -> FrameTransformer:
    settings = {"num_layers": 2, "max_frames": 5, "num_heads": HEADS, "start": "clip"} | settings
    torch.manual_seed(0)
    return FrameTransformer(settings.pop("width", WIDTH), **settings).double()


def with_random_parameters(module: nn.Module) -> nn.Module:
    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=numbers, dtype=torch.float64) / 2)
    return module


def slow_attention(attention: nn.MultiheadAttention, tokens: list[Vector]) -> list[Vector]:
    """Scaled dot-product attention, a head and a token at a time."""
    weights, biases = attention.in_proj_weight.tolist(), attention.in_proj_bias.tolist()
    size = WIDTH // HEADS

    def projected(token: Vector, part: int, head: int) -> Vector:
        rows = range(part * WIDTH + head * size, part * WIDTH + (head + 1) * size)
        return [dot(weights[row], token) + biases[row] for row in rows]

    results = []
    for token in tokens:
        joined: Vector = []
        for head in range(HEADS):
            query = projected(token, 0, head)
            attended = softmax([dot(query, projected(other, 1, head)) / math.sqrt(size) for other in tokens])
            values = [projected(other, 2, head) for other in tokens]
            joined += [sum(a * value[i] for a, value in zip(attended, values, strict=True)) for i in range(size)]
        results.append(linear(attention.out_proj, joined))
    return results


def slow_layer(layer: FrameLayer, tokens: list[Vector]) -> list[Vector]:
    attended = slow_attention(layer.attn, [layer_norm(layer.ln_1, token) for token in tokens])
    tokens = [add(token, change) for token, change in zip(tokens, attended, strict=True)]
    results = []
    for token in tokens:
        hidden = linear(layer.mlp.c_fc, layer_norm(layer.ln_2, token))
        gated = [x / (1 + math.exp(-1.702 * x)) for x in hidden]
        results.append(add(token, linear(layer.mlp.c_proj, gated)))
    return results


@pytest.mark.parametrize("is_training", [True, False])
def test_it_equals_the_slow_reference(is_training: bool) -> None:
    module = with_random_parameters(built()).train(is_training)
    positions = module.positions.tolist()
    expected = []
    for clip in frames().tolist():
        tokens = [add(frame, positions[number]) for number, frame in enumerate(clip)]
        for layer in module.resblocks:
            tokens = slow_layer(layer, tokens)
        expected.append([add(token, frame) for token, frame in zip(tokens, clip, strict=True)])
    with torch.no_grad():
        torch.testing.assert_close(module(frames()), torch.tensor(expected, dtype=torch.float64))


def test_a_layer_of_open_clips_text_transformer_fits_in_by_name_and_gives_the_same() -> None:
    theirs = open_clip.transformer.ResidualAttentionBlock(
        WIDTH, HEADS, act_layer=open_clip.transformer.QuickGELU, batch_first=True
    ).double()
    ours = FrameLayer(WIDTH, num_heads=HEADS).double()
    ours.load_state_dict(with_random_parameters(theirs).state_dict())
    torch.testing.assert_close(ours(frames()), theirs(frames()))


def test_frames_come_out_doubled_from_the_identity_start() -> None:
    torch.testing.assert_close(built(start="identity")(frames()), 2 * frames())


def test_the_identity_start_learns_in_its_first_steps() -> None:
    module = built(start="identity")
    goal = frames().flip(1)
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)
    for _ in range(2):  # in the first one what stands before a matrix of zeros has a gradient of 0
        optimiser.zero_grad()
        (module(frames()) - goal).square().sum().backward()
        optimiser.step()
    for name, parameter in module.named_parameters():
        used = parameter.grad[: frames().shape[1]] if name == "positions" else parameter.grad
        assert used.abs().max() > 1e-9, name


def test_the_start_of_clip_has_clips_spreads() -> None:
    width, num_layers = 128, 3
    module = built(width=width, num_layers=num_layers, max_frames=64, num_heads=2)
    spreads = {"positions": 0.01}
    for number in range(num_layers):
        spreads[f"resblocks.{number}.attn.in_proj_weight"] = width**-0.5
        spreads[f"resblocks.{number}.attn.out_proj.weight"] = width**-0.5 * (2 * num_layers) ** -0.5
        spreads[f"resblocks.{number}.mlp.c_fc.weight"] = (2 * width) ** -0.5
        spreads[f"resblocks.{number}.mlp.c_proj.weight"] = width**-0.5 * (2 * num_layers) ** -0.5
    for name, parameter in module.named_parameters():
        if name in spreads:
            assert parameter.std().item() == pytest.approx(spreads[name], rel=0.03), name
        else:
            constant = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
            assert bool((parameter == constant).all()), name


def test_the_start_of_clip_turns_a_clip_as_far_as_is_said() -> None:
    numbers, width, shared = torch.Generator().manual_seed(0), 512, 0.85
    module = built(width=width, num_layers=4, max_frames=64, num_heads=8).float()
    scene, noise = (torch.randn(16, count, width, generator=numbers) for count in (1, 12))
    given = F.normalize(shared**0.5 * scene + (1 - shared) ** 0.5 * noise, dim=-1) * 10
    with torch.no_grad():
        before, after = (F.normalize(x, dim=-1).mean(dim=1) for x in (given, module(given)))
    assert F.cosine_similarity(before, after, dim=-1).mean().item() == pytest.approx(0.67, abs=0.03)


def test_the_order_of_frames_matters_through_the_positions_alone() -> None:
    module = with_random_parameters(built())
    assert (module(frames().flip(1)).flip(1) - module(frames())).abs().max() > 0.01
    nn.init.zeros_(module.positions)
    torch.testing.assert_close(module(frames().flip(1)).flip(1), module(frames()))


def test_a_clip_does_not_see_another() -> None:
    module = with_random_parameters(built())
    torch.testing.assert_close(module(frames())[1:], module(frames()[1:]))


@pytest.mark.parametrize(("width", "heads"), [(512, 8), (64, 1), (16, 1)])
def test_heads_are_64_wide_unless_told(width: int, heads: int) -> None:
    module = built(width=width, num_heads=0)
    assert [layer.attn.num_heads for layer in module.resblocks] == [heads, heads]


def test_it_stays_in_float32_under_autocast() -> None:
    module, given = built().float(), frames().float()
    expected = module(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(module(given), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": -1}, "num_layers must be >= 1, or 0 for a head that can do without layers, got -1"),
        ({"max_frames": 0}, "max_frames must be >= 1, got 0"),
        ({"num_heads": -2}, "num_heads must be >= 1, got -2"),
        ({"num_heads": 4}, "num_heads must divide the embedding width 6, got 4: set a divisor"),
        ({"width": 200, "num_heads": 0}, "num_heads must divide the embedding width 200, got 3: set a divisor"),
        ({"start": "text"}, "start must be one of identity, clip; got 'text'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        built(**settings)
    assert "\n" not in str(refused.value)


def test_a_clip_with_more_frames_than_positions_is_refused() -> None:
    assert built()(frames(num_frames=5)).shape == (2, 5, WIDTH)
    with pytest.raises(ConfigError, match="clips of 6 frames need max_frames >= 6, got 5"):
        built()(frames(num_frames=6))

"""The token shift against a loop over frames and patches, and inside an image tower of open_clip."""

from __future__ import annotations

import copy
import doctest
import importlib

import open_clip
import pytest
import torch

from conical.core.errors import ConfigError
from conical.models.token_shift import TokenShift, shift_tokens

TOWER = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def clip() -> open_clip.CLIP:
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=16, vision_cfg=TOWER, text_cfg=TEXT)
    for parameter in model.visual.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


PIXELS = random(6, 3, 32, 32)


def slow_shift(x: torch.Tensor, num_frames: int, step: int) -> torch.Tensor:
    shifted = x.clone()
    for image in range(len(x)):
        frame = image % num_frames
        for patch in range(x.shape[1] - 1):
            if patch % step == 0 and frame > 0:
                shifted[image, 1 + patch] = x[image - 1, 1 + patch]
            if patch % step == 3 and frame < num_frames - 1:
                shifted[image, 1 + patch] = x[image + 1, 1 + patch]
    return shifted


@pytest.mark.parametrize("num_frames", [1, 2, 3, 6])
@pytest.mark.parametrize(("num_patches", "step"), [(49, 7), (16, 4), (196, 28), (2, 7)])
def test_it_equals_the_loop_over_frames_and_patches(num_frames: int, num_patches: int, step: int) -> None:
    x = random(6, 1 + num_patches, 3)
    assert torch.equal(shift_tokens(x, num_frames, step=step), slow_shift(x, num_frames, step))


def test_in_a_grid_of_seven_columns_one_looks_back_and_one_ahead() -> None:
    # frames 0, 1, 2 hold their own number everywhere
    x = torch.arange(3.0)[:, None, None].expand(3, 50, 2)
    middle = shift_tokens(x, 3)[1, 1:, 0].view(7, 7)
    expected = torch.ones(7, 7)
    expected[:, 0], expected[:, 3] = 0.0, 2.0
    assert torch.equal(middle, expected)


def test_one_frame_and_the_class_token_stay() -> None:
    x = random(6, 50, 3)
    assert torch.equal(shift_tokens(x, 1), x)
    assert torch.equal(shift_tokens(x, 3)[:, 0], x[:, 0])


def test_clips_do_not_see_each_other() -> None:
    x = random(6, 50, 3)
    halves = torch.cat([shift_tokens(x[:3], 3), shift_tokens(x[3:], 3)])
    assert torch.equal(shift_tokens(x, 3), halves)


def test_every_token_that_is_used_gets_its_gradient() -> None:
    x = random(6, 50, 3).double().requires_grad_()
    weights = random(6, 50, 3, seed=1).double()
    (shift_tokens(x, 3) * weights).sum().backward()
    expected = torch.zeros_like(x)
    source = slow_shift(torch.arange(6.0 * 50).view(6, 50, 1), 3, 7)[..., 0].long()
    for image in range(6):
        for token in range(50):
            expected[source[image, token] // 50, source[image, token] % 50] += weights[image, token]
    assert torch.allclose(x.grad, expected)


def slow_tower(visual, pixels: torch.Tensor, num_frames: int, shifting: set[int]) -> torch.Tensor:
    """The tower's layers in the open: x + attention(shift(norm(x))), then the MLP."""
    x = visual._embeds(pixels)
    for number, layer in enumerate(visual.transformer.resblocks):
        normed = layer.ln_1(x)
        if number in shifting:
            normed = slow_shift(normed, num_frames, 7)
        x = x + layer.attn(normed, normed, normed, need_weights=False)[0]
        x = x + layer.mlp(layer.ln_2(x))
    return visual.ln_post(x)[:, 0] @ visual.proj


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_tower_shifts_in_front_of_its_last_attentions(clip: open_clip.CLIP, num_layers: int) -> None:
    shift = TokenShift(clip.visual, num_layers=num_layers).install()
    shift.set_frames(3)
    shifted = clip.encode_image(PIXELS)
    shift.remove()
    expected = slow_tower(clip.visual, PIXELS, 3, set(range(3 - num_layers, 3)))
    assert torch.allclose(shifted, expected, atol=1e-5)
    assert not torch.allclose(shifted, clip.encode_image(PIXELS), atol=1e-3)


def test_with_one_frame_or_removed_the_tower_is_as_before(clip: open_clip.CLIP) -> None:
    plain, keys = clip.encode_image(PIXELS), list(clip.state_dict())
    shift = TokenShift(clip.visual).install()
    assert torch.equal(clip.encode_image(PIXELS), plain)
    assert list(clip.state_dict()) == keys
    shift.set_frames(2)
    assert not torch.equal(clip.encode_image(PIXELS), plain)
    shift.set_frames(1)
    assert torch.equal(clip.encode_image(PIXELS), plain)
    shift.set_frames(2)
    shift.remove()
    assert torch.equal(clip.encode_image(PIXELS), plain)


def test_a_second_install_does_not_shift_twice(clip: open_clip.CLIP) -> None:
    shift = TokenShift(clip.visual).install()
    shift.set_frames(3)
    once = clip.encode_image(PIXELS)
    assert torch.equal(TokenShift.install(shift) and clip.encode_image(PIXELS), once)
    shift.remove()
    shift.install()
    assert torch.equal(clip.encode_image(PIXELS), once)


def test_gradients_are_the_same_where_the_tower_recomputes_its_activations(clip: open_clip.CLIP) -> None:
    shift = TokenShift(clip.visual).install()
    shift.set_frames(3)
    gradients = []
    for recomputes in (False, True):
        clip.visual.set_grad_checkpointing(recomputes)
        clip.zero_grad()
        clip.train().encode_image(PIXELS).square().sum().backward()
        gradients.append(clip.visual.conv1.weight.grad.clone())
    assert gradients[0].abs().max() > 0
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)


def test_a_copy_shifts_by_its_own_number_of_frames(clip: open_clip.CLIP) -> None:
    shift = TokenShift(clip.visual).install()
    other_clip, other = copy.deepcopy((clip, shift))
    plain = clip.encode_image(PIXELS)
    other.set_frames(3)
    assert torch.equal(clip.encode_image(PIXELS), plain)
    assert not torch.equal(other_clip.encode_image(PIXELS), plain)
    other.remove()
    assert torch.equal(other_clip.encode_image(PIXELS), plain)


def test_a_tower_with_layer_scale_and_normed_attention_shifts_too() -> None:
    torch.manual_seed(0)
    vision = TOWER | {"block_type": "custom"}
    model = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT).eval()
    plain = model.encode_image(PIXELS)
    shift = TokenShift(model.visual).install()
    shift.set_frames(3)
    assert not torch.equal(model.encode_image(PIXELS), plain)


def test_towers_of_other_kinds_are_refused() -> None:
    vision = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "patch_size": None}
    resnet = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT).visual
    with pytest.raises(
        ConfigError, match="needs an open_clip VisionTransformer with a class token, got ModifiedResNet"
    ):
        TokenShift(resnet)


def test_numbers_out_of_range_are_refused(clip: open_clip.CLIP) -> None:
    with pytest.raises(ConfigError, match=r"num_layers must be in \[1, 3\], the layers of the tower, got 4"):
        TokenShift(clip.visual, num_layers=4)
    with pytest.raises(ConfigError, match="step must be >= 4, got 3"):
        TokenShift(clip.visual, step=3)
    with pytest.raises(ConfigError, match="num_frames must be >= 1, got 0"):
        TokenShift(clip.visual).set_frames(0)
    with pytest.raises(ConfigError, match="num_frames must be >= 1 and divide the 6 images, got 4"):
        shift_tokens(random(6, 50, 3), 4)


def test_the_example_holds() -> None:
    results = doctest.testmod(importlib.import_module("conical.models.token_shift"))
    assert (results.attempted, results.failed) == (2, 0)

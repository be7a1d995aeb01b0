"""Groups of AdamW on real towers: each trained parameter once, its rate by pattern, part, depth; its decay by kind."""

from __future__ import annotations

import copy
import doctest
import re

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from conical.core.errors import ConfigError
from conical.engine import parameter_groups as module_of_groups
from conical.engine import tower_depth
from conical.engine.options import OptimOptions
from conical.engine.parameter_groups import is_decayed, parameter_groups
from conical.engine.tower_depth import depths_from_top, place_in_tower
from conical.losses import LogitScale
from conical.models.dual_encoder import build_dual_encoder
from conical.models.freezing import freeze_matching
from conical.models.lora_options import LoraOptions
from conical.models.low_rank import add_lora
from model_pairs import PAIRS, write_pair


class Whole(nn.Module):
    """An objective as far as names go: an encoder with fresh parts, and scales."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        encoder.head = nn.Linear(16, 16)
        encoder.image_projection = nn.Linear(16, 16, bias=False)
        encoder.text_projection = nn.Linear(16, 16, bias=False)
        self.scales = nn.ModuleDict({"tau_tv": LogitScale(20.0)})


@pytest.fixture(scope="module", params=PAIRS)
def named(request, tmp_path_factory) -> tuple[str, Whole]:
    return request.param, Whole(build_dual_encoder(write_pair(request.param, tmp_path_factory.mktemp("pair"))))


@pytest.fixture(scope="module")
def whole(named) -> Whole:
    return named[1]


@pytest.fixture
def deep_clip() -> Whole:
    """open_clip's own towers of 4 and 2 blocks."""
    clip = open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 16},
        text_cfg={"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 2},
    )
    clip.logit_scale.requires_grad_(False)
    encoder = nn.Module()
    encoder.clip = clip
    return Whole(encoder)


def rates(module: nn.Module, **options: object) -> dict[str, float]:
    """The peak rate of each trained parameter; each is in one group."""
    groups = parameter_groups(module.named_parameters(), options=OptimOptions(**options))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found = [(names[id(parameter)], group["base_rate"]) for group in groups for parameter in group["params"]]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_each_trained_parameter_is_in_one_group_and_no_other_is(whole) -> None:
    found = rates(whole, layer_decay=0.7, new_learning_rate=1e-3, rates=(("*.bias", 1e-5),))
    assert set(found) == {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    assert "encoder.clip.logit_scale" not in found


def test_groups_are_merged_and_adamw_takes_them(whole) -> None:
    groups = parameter_groups(whole.named_parameters(), options=OptimOptions(learning_rate=0.1, new_learning_rate=0.2))
    kinds = [(group["base_rate"], group["weight_decay"]) for group in groups]
    assert kinds == [(0.2, 0.05), (0.2, 0.0), (0.1, 0.05), (0.1, 0.0)]
    optimiser = torch.optim.AdamW(groups)
    assert [group["base_rate"] for group in optimiser.param_groups] == [group["lr"] for group in groups]
    again = torch.optim.AdamW(parameter_groups(whole.named_parameters(), options=OptimOptions(new_learning_rate=0.2)))
    again.load_state_dict(optimiser.state_dict())
    assert [group["base_rate"] for group in again.param_groups] == [0.2, 0.2, 0.1, 0.1]


def test_without_options_all_train_at_one_rate(whole) -> None:
    assert set(rates(whole).values()) == {2e-4}


def test_fresh_parts_have_their_own_rate(whole) -> None:
    found = rates(whole, learning_rate=1e-5, new_learning_rate=1e-3)
    fresh = {name for name, rate in found.items() if rate == 1e-3}
    assert fresh == {
        *("encoder.head.weight", "encoder.head.bias", "encoder.image_projection.weight"),
        *("encoder.text_projection.weight", "scales.tau_tv.log_scale"),
    }
    assert {found[name] for name in found if name not in fresh} == {1e-5}


def test_the_first_pattern_that_matches_decides(deep_clip) -> None:
    found = rates(
        deep_clip,
        learning_rate=1e-5,
        new_learning_rate=1e-3,
        rates=(("*.visual.*.bias", 4.0), ("*.visual.*", 3.0), ("scales.*", 2.0), ("*", 1.0)),
    )
    for name, rate in found.items():
        expected = 1.0
        if name.startswith("scales."):
            expected = 2.0
        if ".visual." in name:
            expected = 4.0 if name.endswith(".bias") else 3.0
        assert rate == expected, name


def test_depth_is_counted_from_the_top_of_each_tower(deep_clip) -> None:
    found = rates(deep_clip, learning_rate=1.0, new_learning_rate=10.0, layer_decay=0.5)
    visual, text = "encoder.clip.visual.", "encoder.clip."
    expected = {
        **{f"{visual}{name}": 0 for name in ("proj", "ln_post.weight", "ln_post.bias")},
        **{f"{visual}transformer.resblocks.{block}.attn.in_proj_weight": 4 - block for block in range(4)},
        **{f"{visual}transformer.resblocks.{block}.ln_2.bias": 4 - block for block in range(4)},
        **{f"{visual}{name}": 5 for name in ("conv1.weight", "class_embedding", "positional_embedding")},
        **{f"{visual}ln_pre.{name}": 5 for name in ("weight", "bias")},
        **{f"{text}{name}": 0 for name in ("text_projection", "ln_final.weight")},
        **{f"{text}transformer.resblocks.{block}.mlp.c_fc.weight": 2 - block for block in range(2)},
        **{f"{text}{name}": 3 for name in ("token_embedding.weight", "positional_embedding")},
    }
    assert {name: found[name] for name in expected} == {name: 0.5**depth for name, depth in expected.items()}
    fresh = [rate for name, rate in found.items() if name.removeprefix("encoder.").startswith(module_of_groups.FRESH)]
    assert fresh == [10.0] * 5


def test_the_decay_multiplies_rates_by_pattern_too(deep_clip) -> None:
    found = rates(deep_clip, rates=(("clip.visual.*", 8.0),), layer_decay=0.5)
    assert found["encoder.clip.visual.proj"] == 8.0
    assert found["encoder.clip.visual.transformer.resblocks.2.ln_1.bias"] == 2.0


def test_frozen_blocks_count(deep_clip) -> None:
    before = rates(deep_clip, layer_decay=0.5)
    freeze_matching(deep_clip, ["*.visual.*resblocks.[23].*"])
    after = rates(deep_clip, layer_decay=0.5)
    assert after == {name: rate for name, rate in before.items() if name in after}
    assert len(after) < len(before)


def test_deeper_parameters_of_real_towers_train_no_faster(named) -> None:
    kind, whole = named
    found = rates(whole, learning_rate=1.0, layer_decay=0.5)
    blocks = re.compile(r"(?:resblocks|cross_attn|blocks|layer)\.(\d+)\.")
    for tower in ("encoder.clip.visual.", "encoder.clip."):
        names = [
            name for name in found if name.startswith(tower) and (tower.endswith("visual.") or "visual" not in name)
        ]
        names = [name for name in names if "text_decoder" not in name]
        by_block: dict[int, set[float]] = {}
        for name in names:
            if number := blocks.search(name):
                by_block.setdefault(int(number[1]), set()).add(found[name])
        count = len(by_block)
        assert count >= 1, kind
        assert by_block == {block: {0.5 ** (count - block)} for block in by_block}
        embedded = [name for name in names if re.search(r"embed|conv1\.|conv_stem|_token$|cls_emb", name)]
        assert embedded
        assert {found[name] for name in embedded} == {0.5 ** (count + 1)}
        last = [name for name in names if re.search(r"(\.proj|text_projection|ln_final|ln_post|head\.)", name)]
        last = [name for name in last if not blocks.search(name) and "embed" not in name]
        assert {found[name] for name in last} == {1.0}, last


@pytest.mark.parametrize(
    ("model", "num_blocks", "stem", "top"),
    [
        ("test_efficientnet", 5, {"conv_stem.weight", "bn1.weight", "bn1.bias"}, {"conv_head.weight", "bn2.weight"}),
        ("test_convnext", 4, {"stem.0.weight", "stem.1.bias"}, {"head.norm.weight"}),
        ("test_resnet", 4, {"conv1.0.weight", "bn1.weight"}, set()),
        ("test_vit", 6, {"cls_token", "pos_embed", "patch_embed.proj.weight"}, {"norm.weight"}),
    ],
)
def test_towers_of_timm_with_blocks_or_stages(model: str, num_blocks: int, stem: set[str], top: set[str]) -> None:
    import timm

    names = [name for name, _ in timm.create_model(model, num_classes=0).named_parameters()]
    prefix = "encoder.clip.visual.trunk."
    depths = {name.removeprefix(prefix): depth for name, depth in depths_from_top(prefix + n for n in names).items()}
    assert set(depths) == set(names)
    assert {depths[name] for name in stem} == {num_blocks + 1}
    assert {depths[name] for name in top} <= {0}
    assert set(depths.values()) - {0} == set(range(1, num_blocks + 2))


def test_the_residual_network_of_open_clip_has_a_stem_of_three_convolutions() -> None:
    tower = open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 8, 2, image_size=32, width=4)
    depths = depths_from_top(f"clip.visual.{name}" for name, _ in tower.named_parameters())
    assert {depths[f"clip.visual.{kind}{number}.weight"] for kind in ("conv", "bn") for number in (1, 2, 3)} == {5}
    assert [depths[f"clip.visual.layer{number}.0.conv1.weight"] for number in (1, 2, 3, 4)] == [4, 3, 2, 1]
    assert depths["clip.visual.attnpool.positional_embedding"] == 0


def test_lora_is_as_deep_as_its_weight_and_decayed(deep_clip) -> None:
    add_lora(deep_clip.encoder.clip, LoraOptions(rank=2, targets=("*.in_proj_weight", "token_embedding.weight")))
    found = rates(deep_clip, learning_rate=1.0, layer_decay=0.5)
    assert set(rates(deep_clip, learning_rate=1.0, new_learning_rate=10.0).values()) == {10.0}
    stem = "encoder.clip.visual.transformer.resblocks.{}.attn.parametrizations.in_proj_weight.0.lora_a"
    assert [found[stem.format(block)] for block in range(4)] == [0.5**4, 0.5**3, 0.5**2, 0.5]
    parameters = dict(deep_clip.named_parameters())
    assert is_decayed(stem.format(0), parameters[stem.format(0)])
    embedding = "encoder.clip.token_embedding.parametrizations.weight.0.lora_b"
    assert found[embedding] == 0.5**3
    assert not is_decayed(embedding, parameters[embedding])


def test_what_is_decayed_is_the_weight_of_a_linear_map(whole) -> None:
    modules = dict(whole.named_modules())
    plain = re.compile(r"\.(proj|text_projection|in_proj_weight|[qkv]_proj_weight|query|latent)$")
    groups = parameter_groups(whole.named_parameters(), options=OptimOptions(weight_decay=0.3))
    decayed = {id(parameter) for group in groups if group["weight_decay"] == 0.3 for parameter in group["params"]}
    assert {group["weight_decay"] for group in groups} == {0.3, 0.0}
    for name, parameter in whole.named_parameters():
        if parameter.requires_grad:
            owner, _, attribute = name.rpartition(".")
            is_map = isinstance(modules[owner], (nn.Linear, nn.Conv2d)) and attribute == "weight"
            expected = parameter.ndim >= 2 and (is_map or plain.search(name) is not None)
            assert (id(parameter) in decayed) == expected, name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip.text.transformer.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", False),
        ("clip.visual.trunk.blocks.0.attn.relative_position_bias_table", False),
        ("clip.visual.trunk.stages.0.blocks.0.gamma", False),
        ("clip.visual.trunk.norm.weight", False),
        ("clip.visual.trunk.reg_token", False),
        ("clip.text.transformer.embeddings.token_type_embeddings.weight", False),
        ("clip.text.transformer.shared.weight", False),
        ("encoder.head.frame_embedding.weight", False),
        ("clip.visual.embeddings.patch_embedding.weight", True),
        ("clip.visual.embeddings.patch_embeddings.projection.weight", True),
        ("clip.visual.trunk.patch_embed.proj.weight", True),
        ("clip.visual.trunk.stages.0.conv_scale.conv.weight", True),
        ("encoder.head.layers.0.linear1.weight", True),
    ],
)
def test_what_is_decayed_by_name(name: str, expected: bool) -> None:
    assert is_decayed(name, nn.Parameter(torch.ones(2, 2))) == expected
    assert not is_decayed(name, nn.Parameter(torch.ones(2)))


@given(
    counts=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    layer_decay=st.floats(0.1, 1.0),
    rate=st.floats(1e-8, 1.0),
)
def test_rates_fall_with_depth_for_any_number_of_blocks(counts, layer_decay: float, rate: float) -> None:
    towers = ("clip.visual.trunk.blocks.", "clip.text.transformer.encoder.layer.")
    named = [
        (f"{tower}{block}.mlp.weight", nn.Parameter(torch.ones(1, 1)))
        for tower, count in zip(towers, counts, strict=True)
        for block in range(count)
    ]
    groups = parameter_groups(named, options=OptimOptions(learning_rate=rate, layer_decay=layer_decay))
    found = {id(parameter): group["base_rate"] for group in groups for parameter in group["params"]}
    for tower, count in zip(towers, counts, strict=True):
        of_tower = [found[id(parameter)] for name, parameter in named if name.startswith(tower)]
        assert of_tower == [pytest.approx(rate * layer_decay ** (count - block)) for block in range(count)]
        assert of_tower == sorted(of_tower)
    # one group for each depth that occurs
    assert len(groups) <= max(counts)


def test_a_pattern_that_matches_nothing_is_refused(deep_clip) -> None:
    with pytest.raises(
        ConfigError, match=r"^optim.rates 'clip.visul.\*' matches none of \d+ trained parameters: near are cli"
    ):
        rates(deep_clip, rates=(("clip.visul.*", 1.0),))
    freeze_matching(deep_clip, ["encoder.clip.visual.*"])
    with pytest.raises(ConfigError, match=r"^optim.rates 'clip.visual.\*' matches none of \d+ trained"):
        rates(deep_clip, rates=(("clip.visual.*", 1.0),))


def test_a_pattern_that_decides_nothing_is_refused(deep_clip) -> None:
    with pytest.raises(ConfigError, match=r"rates '\*.bias' decides nothing: an earlier pattern has each of its \d+"):
        rates(deep_clip, rates=(("*", 1.0), ("*.bias", 2.0)))


def test_layer_decay_of_a_tower_without_blocks_is_refused() -> None:
    named = [("clip.visual.mixer.weight", nn.Parameter(torch.ones(1, 1)))]
    parameter_groups(named, options=OptimOptions())
    with pytest.raises(ConfigError, match=r"layer_decay 0.5 needs a tower with numbered blocks, and that of 'clip.vis"):
        parameter_groups(named, options=OptimOptions(layer_decay=0.5))
    named[0][1].requires_grad_(False)
    named.append(("head.weight", nn.Parameter(torch.ones(1, 1))))
    assert len(parameter_groups(named, options=OptimOptions(layer_decay=0.5))) == 1


def test_a_model_with_nothing_to_train_is_refused(deep_clip) -> None:
    deep_clip.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter is trained: freeze fewer, or train 0 epochs"):
        rates(deep_clip)


def test_freezing_takes_the_gradient_off_what_matches_and_nothing_else(deep_clip) -> None:
    before = {name for name, parameter in deep_clip.named_parameters() if parameter.requires_grad}
    frozen = freeze_matching(deep_clip, ["encoder.clip.visual.*", "*.token_embedding.weight", "*.visual.proj"])
    names = [name for name, _ in deep_clip.named_parameters()]
    assert frozen == [name for name in names if ".visual." in name or name.endswith("token_embedding.weight")]
    after = {name for name, parameter in deep_clip.named_parameters() if parameter.requires_grad}
    assert after == before - set(frozen)
    assert freeze_matching(deep_clip, []) == []


def test_freezing_refuses_a_pattern_that_matches_nothing_before_it_freezes(deep_clip) -> None:
    with pytest.raises(
        ConfigError, match=r"^model.freeze '\*.tokn_embedding.weight' matches none of \d+ parameters: near"
    ):
        freeze_matching(deep_clip, ["encoder.clip.visual.*", "*.tokn_embedding.weight"])
    assert deep_clip.encoder.clip.visual.proj.requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0.0"),
        ({"new_learning_rate": -1.0}, "new_learning_rate must be >= 0, got -1.0"),
        ({"rates": (("*", 0.0),)}, r"rates of '\*' must be > 0, got 0.0: to train it not at"),
        ({"layer_decay": 0.0}, r"layer_decay must be in \(0, 1\], got 0.0"),
        ({"layer_decay": 1.1}, r"layer_decay must be in \(0, 1\], got 1.1"),
        ({"weight_decay": -0.1}, "weight_decay must be >= 0, got -0.1"),
    ],
)
def test_options_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimOptions(**settings)  # type: ignore[arg-type]


def test_parameters_outside_of_the_towers_have_no_place() -> None:
    assert place_in_tower("encoder.head.blocks.0.weight") is None
    assert place_in_tower("encoder.clip.logit_scale") is None
    assert place_in_tower("encoder.clip.visual.trunk.head.layers.0.weight") == ("visual", None, False)
    assert place_in_tower("encoder.clip.visual.trunk.patch_embed.backbone.stages.1.weight") == ("visual", None, True)


@pytest.mark.parametrize("module", [module_of_groups, tower_depth])
def test_the_examples_of_the_docstrings_hold(module) -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_copy_has_the_same_groups(whole) -> None:
    assert rates(copy.deepcopy(whole), layer_decay=0.9) == rates(whole, layer_decay=0.9)

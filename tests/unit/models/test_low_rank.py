"""LoRA on towers of each kind: it starts as the model was, trains as a merged model computes, and saves plain."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models.dual_encoder import DualEncoder, build_dual_encoder
from conical.models.lora_options import LoraOptions
from conical.models.low_rank import add_lora, load_plain, merged_state_dict
from model_pairs import PAIRS, write_pair

TEXTS = ["a dog runs", "the red cat jumps over a ball in the park ."]
# per kind of towers: attention of both, and what else there is (a stacked weight, convolutions, plain parameters)
TARGETS = {
    "clip": ("*.attn.in_proj_weight", "*_proj.weight", "*.c_fc.weight", "*.conv1.weight", "visual.proj", "text_pro*"),
    "timm and bert": ("visual.trunk.*.conv_*.weight", "visual.trunk.conv_stem.weight", "text.*.self.*.weight"),
    "siglip": ("*.attn.qkv.weight", "*.attn_pool.q.weight", "text.*.in_proj_weight"),
    "coca": ("*.q_proj_weight", "*.k_proj_weight", "*.in_proj_weight", "text_decoder.text_projection"),
}


@pytest.fixture(scope="module", params=TARGETS)
def loaded(request, tmp_path_factory) -> tuple[str, DualEncoder]:
    return request.param, build_dual_encoder(write_pair(request.param, tmp_path_factory.mktemp("pair"))).eval()


@pytest.fixture
def pair(loaded) -> tuple[str, DualEncoder, LoraOptions]:
    name, encoder = loaded
    return name, copy.deepcopy(encoder), LoraOptions(rank=2, alpha=3.0, targets=TARGETS[name])


def embeddings(encoder: DualEncoder) -> Tensor:
    side = encoder.image_size_px
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 2, side, side, 3), dtype=torch.uint8, generator=generator)
    return torch.cat([encoder.encode_video(frames), encoder.encode_text(encoder.tokenize(TEXTS))])


def train_a_little(module: nn.Module, size: float = 0.1) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(".lora_b"):
                parameter.normal_(std=size)


@torch.no_grad()
def test_a_model_with_lora_starts_as_it_was(pair) -> None:
    _, encoder, options = pair
    encoder.clip.requires_grad_(False)  # torch's kernels for frozen weights differ in the last bit
    before = embeddings(encoder)
    assert add_lora(encoder.clip, options)
    assert torch.equal(embeddings(encoder), before)


@torch.no_grad()
def test_a_trained_model_embeds_as_a_plain_one_with_merged_weights(pair) -> None:
    _, encoder, options = pair
    plain = copy.deepcopy(encoder)
    before = embeddings(plain)
    add_lora(encoder.clip, options)
    train_a_little(encoder.clip)
    plain.clip.load_state_dict(merged_state_dict(encoder.clip))
    trained = embeddings(encoder)
    torch.testing.assert_close(embeddings(plain), trained, atol=1e-6, rtol=0)
    assert (trained - before).norm(dim=-1).min() > 1e-3  # both towers changed


@torch.no_grad()
def test_a_merged_weight_is_the_sum_of_the_paper(pair) -> None:
    _, encoder, options = pair
    plain = {name: value.clone() for name, value in encoder.clip.named_parameters()}
    names = add_lora(encoder.clip, options)
    train_a_little(encoder.clip)
    own, merged = dict(encoder.clip.named_parameters()), merged_state_dict(encoder.clip)
    for name in names:
        owner, _, attribute = name.rpartition(".")
        stem = f"{owner}.parametrizations.{attribute}.0." if owner else f"parametrizations.{attribute}.0."
        a, b = own[f"{stem}lora_a"].double(), own[f"{stem}lora_b"].double()
        weight = plain[name]
        assert a.shape == (2, weight[0].numel())
        assert b.shape == (weight.shape[0], 2)
        matrix = merged[name].double().reshape(weight.shape[0], -1)
        for row, column in [(0, 0), (weight.shape[0] - 1, a.shape[1] - 1), (weight.shape[0] // 2, 1)]:
            before = weight.reshape(weight.shape[0], -1)[row, column].item()
            change = sum((b[row, k] * a[k, column]).item() for k in range(2))
            assert matrix[row, column].item() == pytest.approx(before + 3.0 / 2 * change, abs=1e-6)


def test_only_the_thin_matrices_are_trained_and_each_has_a_gradient(pair) -> None:
    _, encoder, options = pair
    names = add_lora(encoder.clip, options)
    train_a_little(encoder.clip)  # at B = 0 the gradient of A is zero
    trained = [key for key, parameter in encoder.clip.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * len(names)
    assert all(key.endswith((".lora_a", ".lora_b")) for key in trained)
    embeddings(encoder).pow(3).sum().backward()
    for key, parameter in encoder.clip.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, key
        elif not key.startswith("text_decoder."):  # a decoder is no part of the embedding
            assert parameter.grad is not None, key
            assert parameter.grad.any(), key


def test_a_merged_state_has_the_names_of_the_plain_model(pair) -> None:
    _, encoder, options = pair
    plain = encoder.clip.state_dict()
    names = add_lora(encoder.clip, options)
    merged = merged_state_dict(encoder.clip)
    assert set(merged) == set(plain)
    assert all(not value.requires_grad for value in merged.values())
    assert all(torch.equal(merged[name], plain[name]) for name in plain)  # B is zero yet
    assert set(names) < set(plain)


@torch.no_grad()
def test_a_plain_state_loads_into_a_model_with_lora(pair) -> None:
    _, encoder, options = pair
    add_lora(encoder.clip, options)
    train_a_little(encoder.clip)
    merged = {name: value.clone() for name, value in merged_state_dict(encoder.clip).items()}
    trained = embeddings(encoder)
    train_a_little(encoder.clip, size=1.0)
    assert not torch.allclose(embeddings(encoder), trained, atol=1e-2)
    load_plain(encoder.clip, merged)
    assert torch.equal(embeddings(encoder), trained)
    assert all(not value.any() for name, value in encoder.clip.named_parameters() if name.endswith(".lora_b"))
    assert all(value.any() for name, value in encoder.clip.named_parameters() if name.endswith(".lora_a"))


@torch.no_grad()
def test_a_copy_goes_its_own_way(pair) -> None:
    _, encoder, options = pair
    add_lora(encoder.clip, options)
    twin = copy.deepcopy(encoder)
    train_a_little(encoder.clip)
    before = embeddings(twin)
    assert not torch.allclose(embeddings(encoder), before, atol=1e-3)
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(embeddings(twin), embeddings(encoder))


def test_a_plain_state_loads_into_a_plain_model(small_encoder) -> None:
    state = {name: value + 1 for name, value in small_encoder.clip.state_dict().items() if value.is_floating_point()}
    load_plain(small_encoder.clip, small_encoder.clip.state_dict() | state)
    assert all(torch.equal(value, state[name]) for name, value in small_encoder.clip.named_parameters())
    assert merged_state_dict(small_encoder.clip).keys() == small_encoder.clip.state_dict().keys()


def test_a_state_that_does_not_fit_is_refused(small_encoder) -> None:
    add_lora(small_encoder.clip, LoraOptions(rank=2))
    state = merged_state_dict(small_encoder.clip)
    state.pop("visual.transformer.resblocks.0.attn.in_proj_weight")
    with pytest.raises(RuntimeError, match=r"attn\.parametrizations\.in_proj_weight\.original"):
        load_plain(small_encoder.clip, state)


def test_the_default_targets_are_the_attention_of_both_towers(small_encoder) -> None:
    names = add_lora(small_encoder.clip, LoraOptions(rank=1))
    towers = ("visual.transformer", "transformer")
    weights = ("in_proj_weight", "out_proj.weight")
    assert names == [f"{tower}.resblocks.0.attn.{weight}" for tower in towers for weight in weights]


def test_rank_zero_changes_nothing(small_encoder) -> None:
    before = dict(small_encoder.clip.named_parameters())
    assert add_lora(small_encoder.clip, LoraOptions()) == []
    assert dict(small_encoder.clip.named_parameters()).keys() == before.keys()
    assert all(parameter.requires_grad for name, parameter in before.items() if name != "logit_scale")


def test_the_change_is_computed_at_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 32, bias=False)
    add_lora(layer, LoraOptions(rank=4, targets=("weight",)))
    train_a_little(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer.weight
    assert inside.dtype == torch.float32
    assert torch.equal(inside, merged_state_dict(layer)["weight"])


def test_a_starts_uniform_within_the_root_of_its_columns() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 4)
    add_lora(layer, LoraOptions(rank=16, targets=("weight",)))
    a = layer.get_parameter("parametrizations.weight.0.lora_a")
    bound = 256**-0.5
    assert a.abs().max() <= bound
    assert a.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"targets": ("*.attn.in_proj.weight",)},
            r"^lora.targets '\*.attn.in_proj.weight' matches none of \d+ parameters: near are .*attn.in_proj_weight",
        ),
        (
            {"targets": ("*.attn.*",)},
            r"^lora.targets '\*.attn.\*' matches 'visual.*in_proj_bias' of shape \(96,\): LoRA needs a weight with at",
        ),
        ({"rank": 20}, r"^lora.targets .* matches 'transformer.* of shape .*: lora.rank must be <= 16 there, got 20$"),
    ],
)
def test_targets_that_cannot_be_adapted_are_refused_before_anything_changes(small_encoder, options, message) -> None:
    keys = list(small_encoder.clip.state_dict())
    with pytest.raises(ConfigError, match=message) as caught:
        add_lora(small_encoder.clip, LoraOptions(**{"rank": 2, **options}))
    assert "\n" not in str(caught.value)
    assert list(small_encoder.clip.state_dict()) == keys
    assert next(small_encoder.clip.parameters()).requires_grad


def test_lora_is_not_added_twice(small_encoder) -> None:
    add_lora(small_encoder.clip, LoraOptions(rank=2))
    with pytest.raises(ConfigError, match="has LoRA already: load the model anew"):
        add_lora(small_encoder.clip, LoraOptions(rank=2))


def test_a_weight_with_two_owners_is_refused() -> None:
    module = nn.ModuleDict({"one": nn.Linear(4, 4), "other": nn.Linear(4, 4)})
    module["other"].weight = module["one"].weight
    with pytest.raises(ConfigError, match=r"matches 'one.weight', which is shared \(one.weight, other.weight\)"):
        add_lora(module, LoraOptions(rank=2, targets=("one.weight",)))


def test_a_weight_that_is_computed_already_is_refused() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    with pytest.raises(ConfigError, match=r"original1', a part of a weight that is computed already"):
        add_lora(layer, LoraOptions(rank=2, targets=("*original1",)))


def test_other_computed_weights_stay_in_the_state() -> None:
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4))
    keys = set(module.state_dict())
    add_lora(module, LoraOptions(rank=2, targets=("1.weight",)))
    assert set(merged_state_dict(module)) == keys


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": -1}, "rank must be >= 0, got -1"),
        ({"alpha": 0.0}, "alpha must be a finite number > 0, got 0.0"),
        ({"rank": 4, "targets": ()}, "targets must name at least one pattern for rank 4"),
    ],
)
def test_options_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoraOptions(**settings)  # type: ignore[arg-type]


def test_the_kinds_tried_are_kinds_of_the_house() -> None:
    assert set(TARGETS) <= set(PAIRS)

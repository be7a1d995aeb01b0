"""Checkpoints as people have them: the same weights in every wrapping, and files that are none."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models import ModelOptions
from conical.models.checkpoint_files import read_checkpoint
from conical.models.dual_encoder import build_dual_encoder
from conical.models.options import weights_revision
from model_pairs import write_pair

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> tuple[ModelOptions, State]:
    """A small CLIP of open_clip's first form."""
    options = write_pair("clip", tmp_path_factory.mktemp("clip"))
    return options, build_dual_encoder(options).clip.state_dict()


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def torch_file(content: Callable[[State], Any], **how: Any) -> Callable[[State, Path], Path]:
    def write(state: State, folder: Path) -> Path:
        torch.save(content(state), folder / "clip.pt", **how)
        return folder / "clip.pt"

    return write


def safetensors_file(content: Callable[[State], State]) -> Callable[[State, Path], Path]:
    def write(state: State, folder: Path) -> Path:
        save_file(content(state), folder / "clip.safetensors")
        return folder / "clip.safetensors"

    return write


def misnamed(suffix: str, written: Callable[[State, Path], Path]) -> Callable[[State, Path], Path]:
    def write(state: State, folder: Path) -> Path:
        return written(state, folder).rename(folder / f"clip{suffix}")

    return write


def shards(suffix: str) -> Callable[[State, Path], Path]:
    def write(state: State, folder: Path) -> Path:
        names = sorted(state)
        parts = {f"clip-{part + 1:05d}-of-00003.{suffix}": names[part::3] for part in range(3)}
        for file, keys in parts.items():
            content = {key: state[key] for key in keys}
            if suffix == "bin":
                torch.save(content, folder / file)
            else:
                save_file(content, folder / file)
        weight_map = {key: file for file, keys in parts.items() for key in keys}
        path = folder / f"clip.{suffix}.index.json"
        path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
        return path

    return write


class _Holder(nn.Module):
    """Parameters under dotted names, as an archive of TorchScript keeps them."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def torchscript(state: State, folder: Path) -> Path:
    """As OpenAI published its models: half precision, with the sizes of the model among the tensors."""
    root = _Holder()
    facts = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}
    for key, value in {**state, **{name: torch.tensor(value) for name, value in facts.items()}}.items():
        *path, name = key.split(".")
        module: nn.Module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, _Holder())
            module = module.get_submodule(part)
        module.register_buffer(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(root), str(folder / "clip.pt"))
    return folder / "clip.pt"


def transformers_clip(state: State, folder: Path) -> Path:
    """The same weights under the names of transformers' CLIPModel, by its own hand: see `test_..._of_transformers`."""
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    model = CLIPModel(
        CLIPConfig(
            text_config={**text, "vocab_size": 49408, "projection_dim": 16},
            vision_config={**vision, "image_size": 32, "patch_size": 16, "projection_dim": 16},
            projection_dim=16,
        )
    )
    model.load_state_dict(_in_words_of_transformers(state), strict=False)
    model.save_pretrained(folder)
    return folder / "model.safetensors"


def _in_words_of_transformers(state: State) -> State:
    """A slow table written the other way round."""
    out: State = {}
    for side, tower in (("text_model", ""), ("vision_model", "visual.")):
        block, theirs = f"{tower}transformer.resblocks.0", f"{side}.encoder.layers.0"
        for kind in ("weight", "bias"):
            for part, rows in zip("qkv", state[f"{block}.attn.in_proj_{kind}"].chunk(3), strict=True):
                out[f"{theirs}.self_attn.{part}_proj.{kind}"] = rows
            out[f"{theirs}.self_attn.out_proj.{kind}"] = state[f"{block}.attn.out_proj.{kind}"]
            for number in (1, 2):
                out[f"{theirs}.layer_norm{number}.{kind}"] = state[f"{block}.ln_{number}.{kind}"]
            out[f"{theirs}.mlp.fc1.{kind}"] = state[f"{block}.mlp.c_fc.{kind}"]
            out[f"{theirs}.mlp.fc2.{kind}"] = state[f"{block}.mlp.c_proj.{kind}"]
    for kind in ("weight", "bias"):
        out[f"text_model.final_layer_norm.{kind}"] = state[f"ln_final.{kind}"]
        out[f"vision_model.pre_layrnorm.{kind}"] = state[f"visual.ln_pre.{kind}"]
        out[f"vision_model.post_layernorm.{kind}"] = state[f"visual.ln_post.{kind}"]
    out["text_model.embeddings.token_embedding.weight"] = state["token_embedding.weight"]
    out["text_model.embeddings.position_embedding.weight"] = state["positional_embedding"]
    out["vision_model.embeddings.class_embedding"] = state["visual.class_embedding"]
    out["vision_model.embeddings.patch_embedding.weight"] = state["visual.conv1.weight"]
    out["vision_model.embeddings.position_embedding.weight"] = state["visual.positional_embedding"]
    out["text_projection.weight"] = state["text_projection"].T
    out["visual_projection.weight"] = state["visual.proj"].T
    out["logit_scale"] = state["logit_scale"]
    return {key: value.contiguous() for key, value in out.items()}


WHOLE: dict[str, Callable[[State, Path], Path]] = {
    "plain": torch_file(lambda state: state),
    "plain, old form of torch.save": torch_file(lambda state: state, _use_new_zipfile_serialization=False),
    "safetensors": safetensors_file(lambda state: state),
    ".bin": misnamed(".bin", torch_file(lambda state: state)),
    ".ckpt": misnamed(".ckpt", torch_file(lambda state: {"state_dict": state})),
    "safetensors called .pt": misnamed(".pth", safetensors_file(lambda state: state)),
    "module. of DDP": torch_file(lambda state: prefixed(state, "module.")),
    "clip. of a wrapper": torch_file(lambda state: prefixed(state, "clip.")),
    "module.clip.": safetensors_file(lambda state: prefixed(state, "module.clip.")),
    "_orig_mod. of torch.compile": torch_file(lambda state: prefixed(state, "_orig_mod.")),
    "state_dict of open_clip": torch_file(
        lambda state: {"epoch": 3, "name": "run", "state_dict": prefixed(state, "module."), "optimizer": {"state": {}}}
    ),
    "model_state_dict": torch_file(lambda state: {"model_state_dict": state, "loss": torch.tensor(0.5)}),
    "model, with arguments and NumPy values": torch_file(
        lambda state: {"model": state, "args": argparse.Namespace(lr=1e-3), "best": np.float64(0.5), "epoch": 2}
    ),
    "Lightning": torch_file(lambda state: {"state_dict": prefixed(state, "model."), "pytorch-lightning_version": "2"}),
    "wrapped twice": torch_file(lambda state: {"model": {"state_dict": state}}),
    "facts among the weights": torch_file(
        lambda state: {**state, "input_resolution": torch.tensor(32), "vocab_size": torch.tensor(49408)}
    ),
    "a mask of an old release": torch_file(lambda state: {**state, "attn_mask": torch.zeros(77, 77)}),
    "without the scale of CLIP": torch_file(lambda state: {k: v for k, v in state.items() if k != "logit_scale"}),
    "a scale of shape (1,)": torch_file(lambda state: {**state, "logit_scale": state["logit_scale"].reshape(1)}),
    "sharded safetensors": shards("safetensors"),
    "sharded .bin": shards("bin"),
    "TorchScript of OpenAI": torchscript,
    "CLIPModel of transformers": transformers_clip,
}


@pytest.mark.parametrize("kind", WHOLE)
def test_the_same_weights_in_any_wrapping_are_the_same_model(own, tmp_path: Path, kind: str) -> None:
    options, state = own
    path = WHOLE[kind](state, tmp_path)
    loaded = build_dual_encoder(ModelOptions(name=options.name, weights=str(path))).clip.state_dict()
    for key, value in state.items():
        if key != "logit_scale" or "without" not in kind:
            assert torch.equal(loaded[key], value), key


def test_half_precision_becomes_single(own, tmp_path: Path) -> None:
    options, state = own
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pt")
    loaded = build_dual_encoder(ModelOptions(name=options.name, weights=str(tmp_path / "half.pt"))).clip.state_dict()
    assert all(torch.equal(loaded[key], value.half().float()) for key, value in state.items())


def test_a_clip_of_the_first_form_loads_into_one_with_a_text_tower_of_its_own(own, tmp_path: Path) -> None:
    options, state = own
    config = json.loads(Path(options.name).read_text())["model_cfg"] | {"custom_text": True}
    (tmp_path / "custom.json").write_text(json.dumps(config))
    torch.save(prefixed(state, "module."), tmp_path / "clip.pt")
    custom = build_dual_encoder(ModelOptions(name=str(tmp_path / "custom.json"), weights=str(tmp_path / "clip.pt")))
    assert "text.token_embedding.weight" in custom.clip.state_dict()
    encoder = build_dual_encoder(options)
    for texts in (["a dog"], ["a dog runs and jumps", "a cat"]):
        assert torch.equal(
            custom.eval().encode_text(custom.tokenize(texts)), encoder.eval().encode_text(encoder.tokenize(texts))
        )


def test_a_model_of_transformers_embeds_as_here(own, tmp_path: Path) -> None:
    # the reference is their forward, not a table of names
    from transformers import CLIPModel

    options, state = own
    path = transformers_clip(state, tmp_path)
    encoder = build_dual_encoder(ModelOptions(name=options.name, weights=str(path))).eval()
    theirs = CLIPModel.from_pretrained(tmp_path).eval()
    for config in (theirs.config.text_config, theirs.config.vision_config):
        config.hidden_act = "gelu"
    for module in theirs.modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = nn.GELU()
    pixels = torch.randn(2, 3, 32, 32)
    tokens = encoder.reader.tokens(["a dog runs", "the cat"])
    with torch.no_grad():
        hidden = theirs.vision_model(pixel_values=pixels).pooler_output
        torch.testing.assert_close(
            encoder.clip.encode_image(pixels), theirs.visual_projection(hidden), atol=1e-5, rtol=1e-4
        )
        states = theirs.text_model(input_ids=tokens).last_hidden_state
        pooled = states[torch.arange(2), tokens.argmax(-1)]
        torch.testing.assert_close(
            encoder.clip.encode_text(tokens), theirs.text_projection(pooled), atol=1e-5, rtol=1e-4
        )


def _cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _bytes(content: bytes, name: str = "clip.pt") -> Callable[[State, Path], Path]:
    def write(state: State, folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pwned"),))


def _zip(state: State, folder: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(folder / "clip.pt", "w") as archive:
        archive.writestr("readme.txt", "x")
    return folder / "clip.pt"


def _without_a_shard(state: State, folder: Path) -> Path:
    path = shards("safetensors")(state, folder)
    (folder / "clip-00002-of-00003.safetensors").unlink()
    return path


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
BROKEN: dict[str, tuple[Callable[[State, Path], Path], str]] = {
    "empty": (_bytes(b""), "the file is empty: get the file again"),
    "git-lfs pointer": (_bytes(LFS, "clip.safetensors"), "the file is a pointer of git-lfs"),
    "page of the web": (_bytes(b"\n<!DOCTYPE html><html>sign in", "clip.bin"), "the file is a page of the web"),
    "text": (_bytes(b"not weights at all"), "is no checkpoint that is read here"),
    "a picture": (_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64), "is no checkpoint that is read here"),
    "other JSON": (_bytes(b'{"a": 1}', "clip.index.json"), "is JSON and no index of a sharded checkpoint"),
    "other zip": (_zip, "a zip file without weights"),
    "cut torch file": (lambda s, f: _cut(torch_file(lambda state: state)(s, f)), "are no whole checkpoint"),
    "cut old torch file": (
        lambda s, f: _cut(torch_file(lambda state: state, _use_new_zipfile_serialization=False)(s, f)),
        "are no whole checkpoint",
    ),
    "cut safetensors": (lambda s, f: _cut(safetensors_file(lambda state: state)(s, f)), "are no whole checkpoint"),
    "cut header": (lambda s, f: _cut(safetensors_file(lambda state: state)(s, f), 1e-5), "no"),
    "cut TorchScript": (lambda s, f: _cut(torchscript(s, f), 0.9), "are no whole checkpoint"),
    "a shard is away": (_without_a_shard, "1 of 3 shards are not beside it .first: clip-00002-of-00003"),
    "a whole model, pickled": (torch_file(lambda state: _Holder()), "hold Python objects beside tensors"),
    "code": (torch_file(lambda state: {"state_dict": state, "x": _Evil()}), "hold Python objects beside tensors"),
    "no weights": (
        torch_file(lambda state: {"epoch": 3, "lr": 0.1}),
        "hold no state dict, but a dict of 'epoch', 'lr'",
    ),
    "a list": (torch_file(lambda state: [1, 2]), "hold no state dict"),
    "a lone tensor": (torch_file(lambda state: torch.zeros(3)), "hold no state dict"),
    "half of the weights": (
        torch_file(lambda state: dict(list(state.items())[:9])),
        r"do not fit the model: the model's '.*', '.*', '.*' are not in the file \(29 of 38 are missing\)",
    ),
    "more than the model": (
        torch_file(lambda state: {**state, "transformer.resblocks.1.ln_1.weight": torch.zeros(16)}),
        "the model has no 'transformer.resblocks.1.ln_1.weight'",
    ),
    "another method around it": (
        torch_file(lambda state: {**prefixed(state, "clip."), "transformerClip.w": torch.zeros(2)}),
        "the model has no 'transformerClip.w'",
    ),
    "another size": (
        torch_file(lambda state: {**state, "text_projection": torch.zeros(16, 8)}),
        "'text_projection' has shape .16, 8., the model .16, 16.",
    ),
    "transposed": (
        torch_file(lambda state: {**state, "visual.proj": state["visual.proj"].T}),
        "'visual.proj' has shape .16, 32., the model .32, 16.",
    ),
    "not finite": (
        torch_file(lambda state: {**state, "text_projection": torch.full((16, 16), float("nan"))}),
        "'text_projection' holds values that are not finite",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_checkpoint_of_the_model_is_refused_in_one_line(own, tmp_path: Path, monkeypatch, kind: str) -> None:
    options, state = own
    monkeypatch.chdir(tmp_path)
    write, words = BROKEN[kind]
    path = write(state, tmp_path)
    with pytest.raises(ConfigError, match=words) as caught:
        build_dual_encoder(ModelOptions(name=options.name, weights=str(path)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "pwned").exists()


def test_a_folder_is_refused(own, tmp_path: Path) -> None:
    options, _ = own
    with pytest.raises(ConfigError, match="is a folder: give a checkpoint"):
        build_dual_encoder(ModelOptions(name=options.name, weights=f"{tmp_path}/"))


def test_a_damaged_head_is_refused_in_one_line(own, tmp_path: Path) -> None:
    options, state = own
    save_file(state, tmp_path / "encoder.safetensors")
    (tmp_path / "head.safetensors").write_bytes(LFS)
    with pytest.raises(ConfigError, match=r"head .* is no whole safetensors file .*get it again, or remove it"):
        build_dual_encoder(ModelOptions(name=options.name, weights=str(tmp_path / "encoder.safetensors")))


def test_the_shards_pin_the_model(own, tmp_path: Path) -> None:
    options, state = own
    path = shards("bin")(state, tmp_path)
    before = weights_revision(ModelOptions(name=options.name, weights=str(path)))
    shard = tmp_path / "clip-00003-of-00003.bin"
    shard.write_bytes(shard.read_bytes() + b"x")
    assert weights_revision(ModelOptions(name=options.name, weights=str(path))) != before


def test_the_metadata_of_safetensors_come_along(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"made": "here"})
    assert read_checkpoint(tmp_path / "w.safetensors")[1] == {"made": "here"}


def test_open_clip_agrees_on_a_checkpoint_of_its_training(own, tmp_path: Path, monkeypatch) -> None:
    options, state = own
    path = torch_file(lambda state: {"state_dict": prefixed(state, "module.")})(state, tmp_path)
    config = json.loads(Path(options.name).read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", config)
    theirs = open_clip.create_model("small", pretrained=str(path)).state_dict()
    ours = build_dual_encoder(ModelOptions(name=options.name, weights=str(path))).clip.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())

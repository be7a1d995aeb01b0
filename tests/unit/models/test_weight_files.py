"""A trained encoder is a checkpoint of open_clip's, and the weights of another run."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file

from conical.core.errors import ConfigError, StoreError
from conical.models import ModelOptions
from conical.models.dual_encoder import build_dual_encoder
from conical.models.options import weights_revision
from conical.models.weight_files import load_encoder, save_encoder
from unit.engine.test_loop import run

FRAMES = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TEXTS = ["a red circle", "two stars"]


def embeddings(encoder) -> tuple[torch.Tensor, torch.Tensor]:
    encoder.eval()
    with torch.no_grad():
        return encoder.encode_video(FRAMES), encoder.encode_text(encoder.tokenize(TEXTS))


@pytest.fixture
def trained(loaded_small_encoder, tmp_path: Path):
    """A trained encoder and its file, as a checkpoint's `best/` holds it."""
    objective, _, _ = run(lambda: copy.deepcopy(loaded_small_encoder), epochs=1, folder=tmp_path / "checkpoints")
    return objective.encoder.eval(), tmp_path / "checkpoints" / "1" / "best" / "encoder.safetensors"


def test_a_trained_encoder_is_the_weights_of_another_run_to_the_bit(trained, small_clip) -> None:
    encoder, path = trained
    again = build_dual_encoder(ModelOptions(name=small_clip.name, weights=str(path)))
    for a, b in zip(embeddings(encoder), embeddings(again), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(embeddings(encoder), embeddings(build_dual_encoder(small_clip)), strict=True):
        assert not torch.equal(a, b)


def test_the_same_weights_are_the_same_file(loaded_small_encoder, tmp_path: Path) -> None:
    contents = set()
    for number in range(8):
        save_encoder(loaded_small_encoder, tmp_path / f"{number}.safetensors")
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1


def test_open_clip_alone_loads_a_trained_encoder_to_the_bit(trained, small_clip, monkeypatch) -> None:
    encoder, path = trained
    assert not path.with_name("head.safetensors").exists()
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", json.loads(Path(small_clip.name).read_text()))
    clip = open_clip.create_model("small", pretrained=str(path)).eval()
    pixels = FRAMES[:, 0].permute(0, 3, 1, 2).float().div(255)
    mean, std = (torch.tensor(clip.visual.preprocess_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        assert torch.equal(
            F.normalize(F.normalize(clip.encode_image((pixels - mean) / std), dim=-1), dim=-1),
            encoder.encode_video(FRAMES[:, :1]),
        )
        tokens = open_clip.get_tokenizer("small")(TEXTS)
        assert torch.equal(F.normalize(clip.encode_text(tokens), dim=-1), encoder.encode_text(tokens))


def test_the_pixels_of_a_trained_encoder_are_normalised_as_they_were(
    loaded_small_encoder, small_clip, tmp_path
) -> None:
    # a model of another mean, as SigLIP's: its config alone does not say so
    config = json.loads(Path(small_clip.name).read_text())
    (tmp_path / "config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}})
    )
    encoder = build_dual_encoder(ModelOptions(name=str(tmp_path / "config.json"), weights=small_clip.weights))
    assert encoder.pixel_mean == (0.5, 0.4, 0.3)
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    again = build_dual_encoder(ModelOptions(name=small_clip.name, weights=str(tmp_path / "encoder.safetensors")))
    assert (again.pixel_mean, again.pixel_std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert torch.equal(embeddings(encoder)[0], embeddings(again)[0])
    assert not torch.equal(embeddings(encoder)[0], embeddings(loaded_small_encoder)[0])


def test_the_keys_are_open_clips_own(trained) -> None:
    encoder, path = trained
    assert load_file(path).keys() == encoder.clip.state_dict().keys()


def test_a_head_beside_the_weights_is_part_of_their_revision(trained, small_clip) -> None:
    _, path = trained
    options = ModelOptions(name=small_clip.name, weights=str(path))
    before = weights_revision(options)
    path.with_name("head.safetensors").write_bytes(b"head")
    assert weights_revision(options) != before


def test_a_damaged_encoder_is_refused_in_one_line(trained, small_clip) -> None:
    encoder, path = trained
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoreError, match=r"encoder .* cannot be loaded \(.*\): train again"):
        load_encoder(encoder, path)
    with pytest.raises(ConfigError, match="are no whole checkpoint"):
        build_dual_encoder(ModelOptions(name=small_clip.name, weights=str(path)))
    with pytest.raises(StoreError, match="cannot be loaded"):
        load_encoder(encoder, path.with_name("gone.safetensors"))

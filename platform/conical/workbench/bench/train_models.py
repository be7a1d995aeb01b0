"""The models that training is timed on, and batches for them; all but the tiny CLIP have random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from conical.engine.batches import Batch
from conical.models.architecture import known_name
from conical.models.options import ModelOptions
from conical.workbench.bench.text_speed import WORDS, write_text_tower

TINY, VIT, PAIR = "tiny CLIP", "ViT-B/32", "EfficientNet-Lite0 + MiniLM-L6"
_NUM_WORDS = 10
_PAIR_CONFIG = {
    "embed_dim": 256,
    "vision_cfg": {
        **{"timm_model_name": "tf_efficientnet_lite0", "timm_model_pretrained": False, "timm_pool": "avg"},
        **{"timm_proj": "linear", "image_size": 224},
    },
    "text_cfg": {
        **{"hf_model_name": "bert", "hf_tokenizer_name": "bert", "hf_pooler_type": "mean_pooler"},
        **{"hf_proj_type": "linear", "context_length": 77},
    },
}


def write_train_model(name: str, folder: Path) -> ModelOptions:
    """Options of `TINY`, `VIT` or `PAIR`; what they need is written into the folder."""
    if name == TINY:
        return ModelOptions()
    weights = folder / "model.safetensors"
    architecture = "ViT-B-32-quickgelu"
    if name == PAIR:
        write_text_tower(folder, positions=512)
        architecture = str(folder / "config.json")
        Path(architecture).write_text(json.dumps({"model_cfg": _PAIR_CONFIG}), encoding="utf-8")
    options = ModelOptions(name=architecture, weights=str(weights))
    _write_random(options, weights)
    return options


def _write_random(options: ModelOptions, path: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    clip = open_clip.create_model(known_name(options), pretrained_text=False)
    save_file({name: tensor.contiguous() for name, tensor in clip.state_dict().items()}, path)


def random_batch(*, rows: int, frames: int, size: int, seed: int = 0) -> Batch:
    """A batch of noise, each row a video of its own with 10 words."""
    random = torch.Generator().manual_seed(seed)
    return Batch(
        video=torch.arange(rows),
        texts=random_texts(rows),
        frames=torch.randint(0, 256, (rows, frames, size, size, 3), dtype=torch.uint8, generator=random),
        degrees=torch.rand(rows, generator=random) * 30 - 15,
        flip=torch.rand(rows, generator=random) < 0.5,
    )


def random_texts(rows: int) -> list[str]:
    """Captions of 10 words, each another one."""
    return [
        " ".join(WORDS[(row * _NUM_WORDS + number) % len(WORDS)] for number in range(_NUM_WORDS)) for row in range(rows)
    ]

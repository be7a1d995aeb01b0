"""Which dual encoder, by card or by open_clip's own names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from conical.core.hashing import file_fingerprint, stable_hash
from conical.core.options import Options, require, require_choice
from conical.models.heads.table import Setting, check_settings, head_card
from conical.models.lora_options import LoraOptions
from conical.models.projection_options import ProjectionOptions

# the parameters of head and projections, beside the weights of their CLIP
HEAD_FILE = "head.safetensors"
# where a model-config JSON names a Hugging Face text tower and its tokenizer
TEXT_TOWER_KEYS = ("hf_model_name", "hf_tokenizer_name")
_ASSETS = Path(__file__).resolve().parent.parent / "assets"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Where a model comes from.

    Args:
        architecture: a model name of open_clip, or the path of a model-config JSON in open_clip's form.
        weights: a pretrained tag of open_clip, or the path of a checkpoint.
        image_size_px: side of the square frames it takes.
    """

    architecture: str
    weights: str
    source: str
    licence: str
    image_size_px: int


# The OpenAI weights were trained with quick GELU: loaded into the plain variant they run and score a few points lower.
MODELS: dict[str, ModelCard] = {
    "tiny-clip": ModelCard(
        architecture=str(_ASSETS / "tiny_clip" / "open_clip_config.json"),
        weights=str(_ASSETS / "tiny_clip" / "model.safetensors"),
        source="made by jobs/build_tiny_models.py on generated scenes",
        licence="Apache-2.0",
        image_size_px=64,
    ),
    "clip-vit-b32": ModelCard(
        architecture="ViT-B-32-quickgelu",
        weights="openai",
        source="https://github.com/openai/CLIP",
        licence="MIT",
        image_size_px=224,
    ),
    "clip-vit-b16": ModelCard(
        architecture="ViT-B-16-quickgelu",
        weights="openai",
        source="https://github.com/openai/CLIP",
        licence="MIT",
        image_size_px=224,
    ),
}


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """The `[model]` table.

    Args:
        name: a card of `MODELS`, any model name of open_clip, or the path of an open_clip model-config JSON, whose
            timm and Hugging Face towers may lie in folders beside it (docs/encoders.md).
        weights: a pretrained tag of open_clip or the path of a checkpoint: safetensors (whole or the index of its
            shards), a file of `torch.save` or TorchScript, such as a run's `encoder.safetensors`; "" takes the
            card's. The head of a run is loaded with it if it is the same as `head`.
        head: what compares texts and clips: a row of `conical list heads`, or `package.module:CARD` from outside.
        head_settings: those of the head that differ from its defaults.
        image_projection: a fresh map from the image tower's embeddings to the space where texts and clips are compared.
        text_projection: the same of the text tower.
        token_shift_layers: last layers of the image tower in which patches look into the frame before and after, >= 0
            (TS2-Net takes 2); of a ViT of open_clip's.
        freeze: patterns of parameter names (`clip.visual.*`) that are not trained; what is frozen as a whole runs in
            evaluation mode.
        keeps_outputs: a frozen tower runs once for each frame and text, and its outputs are kept on the local disk.
        lora: low-rank adaptation, in place of training the CLIP's own weights.
        batch_norm: `held` keeps the CLIP's running statistics; `trained` takes those of the global batch.
    """

    name: str = "tiny-clip"
    weights: str = ""
    head: str = "mean_pool"
    head_settings: dict[str, Setting] = field(default_factory=dict)
    image_projection: ProjectionOptions = field(default_factory=ProjectionOptions)
    text_projection: ProjectionOptions = field(default_factory=ProjectionOptions)
    token_shift_layers: int = 0
    freeze: tuple[str, ...] = ()
    keeps_outputs: bool = True
    lora: LoraOptions = field(default_factory=LoraOptions)
    batch_norm: str = "held"

    def __post_init__(self) -> None:
        require(bool(self.name), "name must not be empty: give a model card, an open_clip model name or a config path")
        require(
            not (self.weights == "openai" and "quickgelu" not in self.name and self.name not in MODELS),
            f"weights 'openai' need the quickgelu variant of the model, got {self.name!r}: use '{self.name}-quickgelu'",
        )
        require(
            bool(self.weights) or self.name in MODELS,
            f"weights must be given for {self.name!r} (a pretrained tag or a checkpoint path); "
            f"only the cards {', '.join(MODELS)} bring their own",
        )
        require(self.token_shift_layers >= 0, f"token_shift_layers must be >= 0, got {self.token_shift_layers}")
        require_choice("batch_norm", self.batch_norm, ("held", "trained"))
        check_settings(head_card(self.head), self.head_settings)

    @property
    def card(self) -> ModelCard:
        """The card, or one made from the names the user gave."""
        if self.name in MODELS:
            card = MODELS[self.name]
            return card if not self.weights else ModelCard(**{**vars(card), "weights": self.weights})
        return ModelCard(architecture=self.name, weights=self.weights, source="", licence="", image_size_px=0)


def weights_revision(options: ModelOptions) -> str:
    """What pins a model: hashes of its local files, or the names that open_clip resolves."""
    card = options.card
    weights = Path(card.weights)
    head = weights.with_name(HEAD_FILE)
    known = [card.architecture, card.weights, *([str(head)] if head.is_file() else [])]
    known += [str(path) for path in (*shard_files(weights), *_text_tower_files(Path(card.architecture)))]
    parts = [file_fingerprint(part) if Path(part).is_file() else part for part in known]
    return stable_hash(parts)


def shard_files(weights: Path) -> list[Path]:
    """The files that a checkpoint's index (`*.index.json`) names, in their order; empty if it is no index."""
    if not weights.name.endswith(".index.json") or not weights.is_file():
        return []
    try:
        names = json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()
        return [weights.with_name(Path(name).name) for name in sorted(set(names))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # whoever loads it says what is wrong


def local_text_tower(config: Path, name: object) -> Path | None:
    """The folder that a model-config JSON means by the name of a Hugging Face text tower; None: a hub's name.

    Args:
        config: path of the JSON; a relative name is looked for beside it first, then where the command runs.
    """
    if not isinstance(name, str) or not name:
        return None
    folders = [config.parent / Path(name).expanduser(), Path(name).expanduser()]
    return next((folder.absolute() for folder in folders if folder.is_dir()), None)


def _text_tower_files(config: Path) -> list[Path]:
    """Configs and vocabularies of local text towers; their weights are in the checkpoint."""
    if config.suffix != ".json" or not config.is_file():
        return []
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        text = content.get("model_cfg", content)["text_cfg"]
        folders = {local_text_tower(config, text.get(key)) for key in TEXT_TOWER_KEYS}
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    files = [path for folder in folders if folder is not None for path in folder.iterdir() if path.is_file()]
    return sorted(path for path in files if path.suffix in (".json", ".txt", ".model"))

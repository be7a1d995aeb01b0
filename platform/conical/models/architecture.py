"""The architecture of a model, by open_clip's names or a model-config JSON; no weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conical.core.errors import ConfigError
from conical.core.hashing import stable_hash
from conical.models.options import ModelOptions


def model_config(options: ModelOptions) -> dict[str, Any]:
    """The model's config in open_clip's form; no weights are loaded.

    Raises:
        ConfigError: the model is unknown.
    """
    import open_clip

    config: dict[str, Any] = open_clip.get_model_config(known_name(options))
    return config


def build_tokenizer(options: ModelOptions) -> Any:
    """The model's tokenizer: texts to (T, context_length) integers.

    Raises:
        ConfigError: the model is unknown.
    """
    import open_clip

    return open_clip.get_tokenizer(known_name(options))


def known_name(options: ModelOptions) -> str:
    """The model's name in open_clip's table."""
    import open_clip

    name = _register_local_config(options.card.architecture)
    if name not in open_clip.list_models():
        raise ConfigError(
            f"model.name {options.name!r} is unknown: use a card, a name of open_clip.list_models(), or the path of a "
            "model-config JSON"
        )
    return name


def _register_local_config(architecture: str) -> str:
    """Make a local model-config JSON known to open_clip under a name of its own; other names pass through."""
    import open_clip

    if not architecture.endswith(".json"):
        return architecture
    content = _read_config(architecture)
    config = content.get("model_cfg", content)
    # by content: two files of one name must not replace each other in open_clip's global table
    name = f"conical-{stable_hash(config)}"
    open_clip.factory._MODEL_CONFIGS[name] = config
    return name


def config_preprocess(architecture: str) -> dict[str, list[float]]:
    """`mean` and `std` of the pixels, where a local model-config JSON says them."""
    if not architecture.endswith(".json"):
        return {}
    told = _read_config(architecture).get("preprocess_cfg", {})
    return {key: told[key] for key in ("mean", "std") if key in told}


def _read_config(architecture: str) -> dict[str, Any]:
    path = Path(architecture)
    if not path.is_file():
        raise ConfigError(f"model config {architecture!r} is not a file: give an open_clip model-config JSON")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content

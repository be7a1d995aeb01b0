"""The architecture of a model, by open_clip's names or a model-config JSON; no weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conical.core.errors import ConfigError
from conical.core.hashing import stable_hash
from conical.models.options import TEXT_TOWER_KEYS, ModelOptions, local_text_tower

_NEEDED = ("embed_dim", "vision_cfg", "text_cfg")
_CLIP_CONTEXT = 77  # open_clip's own default


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
        ConfigError: the model is unknown, or its tokenizer cannot be had.
    """
    import open_clip

    name = known_name(options)
    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:  # the libraries behind raise whatever a file or the network gave them
        source = model_config(options)["text_cfg"].get("hf_tokenizer_name")
        raise ConfigError(
            f"the tokenizer {f'{source!r} ' if source else ''}of model {options.name!r} cannot be had "
            f"({fault(error)}){_hint()}"
        ) from error


def context_positions(options: ModelOptions) -> int | None:
    """How many tokens the text tower has positions for; None: as many as one likes (T5's are relative).

    Raises:
        ConfigError: the model is unknown, or the config of its text tower cannot be had.
    """
    tower = model_config(options)["text_cfg"]
    if not tower.get("hf_model_name"):
        return int(tower.get("context_length", _CLIP_CONTEXT))
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(tower["hf_model_name"])
    except Exception as error:
        raise ConfigError(
            f"the text tower {tower['hf_model_name']!r} of model {options.name!r} cannot be had "
            f"({fault(error)}){_hint()}"
        ) from error
    positions = getattr(config, "max_position_embeddings", None)
    if positions and "roberta" in config.model_type:
        positions -= config.pad_token_id + 1  # RoBERTa counts its positions from behind the padding's
    return int(positions) if positions else None


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
    content = read_config(architecture)
    config = content.get("model_cfg", content)
    # a text tower beside the JSON is meant whatever folder the command runs in
    text = {**config["text_cfg"]}
    for key in TEXT_TOWER_KEYS:
        if (folder := local_text_tower(Path(architecture), text.get(key))) is not None:
            text[key] = str(folder)
    config = {**config, "text_cfg": text}
    # by content: two files of one name must not replace each other in open_clip's global table
    name = f"conical-{stable_hash(config)}"
    open_clip.factory._MODEL_CONFIGS[name] = config
    return name


def config_preprocess(architecture: str) -> dict[str, list[float]]:
    """`mean` and `std` of the pixels, where a local model-config JSON says them."""
    if not architecture.endswith(".json"):
        return {}
    told = read_config(architecture).get("preprocess_cfg", {})
    return {key: told[key] for key in ("mean", "std") if key in told}


def read_config(architecture: str) -> dict[str, Any]:
    """The content of a model-config JSON.

    Raises:
        ConfigError: it is not a file of that form.
    """
    path = Path(architecture)
    if not path.is_file():
        raise ConfigError(f"model config {architecture!r} is not a file: give an open_clip model-config JSON")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model config {architecture!r} is no JSON ({fault(error)}): give an open_clip model-config JSON"
        ) from error
    inner = content.get("model_cfg", content) if isinstance(content, Mapping) else {}
    missing = [key for key in _NEEDED if key not in inner] if isinstance(inner, Mapping) else list(_NEEDED)
    wrong = [key for key in _NEEDED[1:] if key not in missing and not isinstance(inner[key], Mapping)]
    if missing or wrong:
        raise ConfigError(
            f"model config {architecture!r} is not of open_clip's form: "
            f"{f'it has no {missing[0]}' if missing else f'{wrong[0]} is no table'}; "
            "see open_clip's model_configs for examples"
        )
    return dict(content)


def fault(error: BaseException, *, length: int = 200) -> str:
    """The first line of an exception's words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= length else f"{text[:length]} ..."


def _hint() -> str:
    return ": give the path of a local folder in the model-config JSON, or let this machine reach the hub"

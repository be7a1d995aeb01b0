"""Anyone's CLIP checkpoint under the names that this model has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from conical.core.errors import ConfigError
from conical.models.checkpoint_files import read_checkpoint
from conical.models.transformers_names import from_transformers

# CLIP's own scale is not used here (the loss brings its own), so files without it are whole
_OPTIONAL = ("logit_scale", "logit_bias")
# facts and constants that some files hold as tensors; none is a weight
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask", "position_ids", "embed_dim")


def load_clip(clip: Any, path: Path) -> dict[str, list[float]]:
    """Load a checkpoint; every weight of the model must be in it, and nothing else that is one.

    Prefixes that wrappers put before the names (`module.`, `clip.`, `model.`, `_orig_mod.`) are taken off; names of
    transformers' CLIPModel, of CLIPs without a text tower of their own, and of MobileCLIP become open_clip's.

    Args:
        clip: a model of open_clip's; its parameters are replaced.

    Returns:
        `mean` and `std` of its pixels, where the file says them.

    Raises:
        ConfigError: the file cannot be read or does not fit the model.
    """
    state, metadata = read_checkpoint(path)
    state = _fit(clip, state, path)
    infinite = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if infinite:
        raise ConfigError(
            f"weights {str(path)!r}: {infinite[0]!r} holds values that are not finite: take another epoch"
        )
    clip.load_state_dict(state, strict=True)
    return cast("dict[str, list[float]]", json.loads(metadata.get("conical.preprocess", "{}")))


def _fit(clip: Any, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    own: dict[str, Tensor] = clip.state_dict()
    state = _without_prefix(_in_open_clips_words(clip, state), own)
    state = {key: value for key, value in state.items() if key in own or key.rpartition(".")[2] not in _NO_WEIGHTS}
    missing = [key for key in own if key not in state and key not in _OPTIONAL]
    foreign = [key for key in state if key not in own]
    wrong = [
        f"{key!r} has shape {tuple(state[key].shape)}, the model {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape and not _is_same_scalar(key, state[key], own[key])
    ]
    told = [
        f"the model's {_first(missing)} not in the file ({len(missing)} of {len(own)} are missing)" if missing else "",
        f"the model has no {_first(foreign, 'or')} ({len(foreign)} of the file's {len(state)} are foreign)"
        if foreign
        else "",
        wrong[0] if wrong else "",
    ]
    if any(told):
        raise ConfigError(
            f"weights {str(path)!r} do not fit the model: {'; '.join(filter(None, told))}. Choose the model.name they "
            "were trained with, and keep only its CLIP in the file"
        )
    return {
        key: own[key] if key not in state else state[key].to(dtype=own[key].dtype).reshape(own[key].shape)
        for key in own
    }


def _first(names: list[str], link: str = "") -> str:
    """The first three names: `'a', 'b' are`, or with a link `'a', 'b' or 'c'`."""
    told = [repr(name) for name in names[:3]]
    if link:
        return f" {link} ".join(filter(None, [", ".join(told[:-1]), told[-1]]))
    return f"{', '.join(told)} {'is' if len(told) == 1 else 'are'}"


def _is_same_scalar(key: str, one: Tensor, other: Tensor) -> bool:
    """A scale of shape () in one release of open_clip and (1,) in another."""
    return key in _OPTIONAL and one.numel() == other.numel()


def _in_open_clips_words(clip: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    from open_clip.convert import convert_state_dict

    converted: dict[str, Tensor] = convert_state_dict(clip, state)
    return from_transformers(converted)


def _without_prefix(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what stands before all names; a CLIP of the first form gets `text.` before those of its text tower."""
    state = _stripped(state, own)
    texts = {key.removeprefix("text.") for key in own if key.startswith("text.")}
    if texts and not any(key.startswith("text.") for key in state):
        state = _stripped(state, {**own, **dict.fromkeys(texts, torch.empty(0))})
        state = {f"text.{key}" if key in texts and key not in own else key: value for key, value in state.items()}
    return state


def _stripped(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without the prefix that makes most of its names the model's."""
    probes = [key for key in own if key not in _OPTIONAL][:: max(1, len(own) // 8)]
    found = {key.removesuffix(probe) for probe in probes for key in state if key.endswith(f".{probe}")}
    best = max(["", *sorted(found)], key=lambda prefix: sum(f"{prefix}{key}" in state for key in own))
    return {key.removeprefix(best): value for key, value in state.items()}

"""Weights of CLIPs as people have them: which file it is, and the tensors in it.

Known by their first bytes, whatever the suffix says:

    safetensors; an index of sharded safetensors or `.bin` files (`*.index.json`)
    torch.save, new and old form: a state dict, or one wrapped as `state_dict`, `model_state_dict`, `model`, ...
    a TorchScript archive, as OpenAI published its models

Nothing is unpickled but tensors and plain values; TorchScript has a reader of its own that calls nothing either.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from conical.core.errors import ConfigError
from conical.models.architecture import fault
from conical.models.options import shard_files

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
# what training scripts keep beside their weights; none of these can run code when it is made
_HARMLESS: tuple[Any, ...] = (
    *(argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, collections.Counter, np.dtype, np.ndarray),
    *(type(np.dtype(kind)) for kind in ("float16", "float32", "float64", "int32", "int64", "bool")),
    np.float64(0).__reduce__()[0],  # what makes a NumPy number
)
_SUFFIXES = ("safetensors", "pt", "pth", "bin", "ckpt", "index.json")


def is_checkpoint_path(weights: str) -> bool:
    """Whether the words mean a file, not a tag of open_clip's."""
    return weights.endswith(tuple(f".{suffix}" for suffix in _SUFFIXES)) or "/" in weights


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a checkpoint by their names, and the metadata of a safetensors file.

    Raises:
        ConfigError: it is no whole checkpoint of a form named above.
    """
    form = checkpoint_form(path)
    try:
        return _read(path, form)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(_not_whole(path, error)) from error


def _not_whole(path: Path, error: Exception) -> str:
    return f"weights {str(path)!r} are no whole checkpoint ({fault(error)}): get the file again"


def checkpoint_form(path: Path) -> str:
    """What a file is, by its first bytes.

    Returns:
        `safetensors`, `index`, `torch` or `torchscript`.

    Raises:
        ConfigError: it is none that holds weights.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a file"
        raise ConfigError(f"model.weights {str(path)!r} {what}: give a checkpoint or a pretrained tag of open_clip")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ConfigError(f"weights {str(path)!r} cannot be read ({error.strerror}): check its permissions") from error
    text = start.decode("utf-8", errors="replace").lstrip().lower()
    wrong = ""
    if not start:
        wrong = "is empty: get the file again"
    elif text.startswith("version https://git-lfs"):
        wrong = "is a pointer of git-lfs, not the file itself: run 'git lfs pull' where it came from"
    elif text.startswith(("<!doctype", "<html", "<?xml", "<head")):
        wrong = "is a page of the web, such as a sign-in or an error: get the file itself"
    if wrong:
        raise ConfigError(f"weights {str(path)!r}: the file {wrong}")
    if start[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise ConfigError(_not_whole(path, error)) from error
        if not any(name.endswith("/data.pkl") for name in names):
            raise ConfigError(f"weights {str(path)!r}: a zip file without weights; unpack it and give the checkpoint")
        return "torchscript" if any(name.endswith("/constants.pkl") for name in names) else "torch"
    if start[:1] == b"\x80":
        return "torch"
    if start[8:9] == b"{":
        return "safetensors"
    if text.startswith("{"):
        return "index"
    raise ConfigError(
        f"weights {str(path)!r}: the file is no checkpoint that is read here: give safetensors, a file of torch.save "
        "or a TorchScript archive"
    )


def _read(path: Path, form: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    if form == "safetensors":
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    if form == "index":
        return _read_shards(path), {}
    if form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch deprecates the form; OpenAI's files stay in it
            return dict(torch.jit.load(path, map_location="cpu").state_dict()), {}
    return _unwrap(_load_pickle(path), path), {}


def _load_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(list(_HARMLESS)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise ValueError(str(error)) from error  # cut in the middle
        raise ConfigError(
            f"weights {str(path)!r} hold Python objects beside tensors, which are not loaded: save the state dict "
            "alone, torch.save(model.state_dict(), ...)"
        ) from error


def _read_shards(path: Path) -> dict[str, Tensor]:
    shards = shard_files(path)
    if not shards:
        raise ConfigError(
            f"weights {str(path)!r}: the file is JSON and no index of a sharded checkpoint (no weight_map): give the "
            "checkpoint itself"
        )
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ConfigError(
            f"weights {str(path)!r}: {len(missing)} of {len(shards)} shards are not beside it (first: {missing[0]}): "
            "get all of them"
        )
    state: dict[str, Tensor] = {}
    for shard in shards:
        state |= read_checkpoint(shard)[0]
    absent = sorted(json.loads(path.read_text(encoding="utf-8"))["weight_map"].keys() - state.keys())
    if absent:
        raise ConfigError(f"weights {str(path)!r}: the shards lack {absent[0]!r}, which the index names: get all again")
    return state


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict inside of what a training script saved."""
    if isinstance(content, Mapping):
        state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        # a wrapper may have tensors of its own beside the state dict, a counter of steps for example
        if inner is not None:
            return _unwrap(inner, path)
        if state:
            return state
    kind = f"a dict of {', '.join(map(repr, list(content)[:5]))}" if isinstance(content, Mapping) else type(content)
    raise ConfigError(
        f"weights {str(path)!r} hold no state dict, but {kind}: save model.state_dict(), or wrap it as 'state_dict'"
    )

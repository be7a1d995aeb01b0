"""An encoder on disk: its CLIP as a checkpoint of open_clip's, its head beside it.

    encoder.safetensors   open_clip's own keys; the metadata hold `conical.preprocess`, the mean and std of its pixels
    head.safetensors      the head's parameters and buffers; absent if it has none. The metadata hold `conical.head`

So a CLIP that was trained here loads by `open_clip.load_checkpoint`, and as `model.weights` of another run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from conical.core.errors import ConfigError, StoreError
from conical.models.architecture import fault
from conical.models.options import HEAD_FILE

if TYPE_CHECKING:
    from conical.models.dual_encoder import DualEncoder

_CLIP, _HEAD = "clip.", "head."


def save_encoder(encoder: DualEncoder, path: Path, *, state: Mapping[str, Tensor] | None = None) -> None:
    """Write an encoder's CLIP to `path` and what its head has beside it.

    Args:
        path: of the CLIP, by its suffix a safetensors file.
        state: an earlier state of the encoder, in place of its present one.
    """
    state = encoder.state_dict() if state is None else state
    parts = {
        prefix: {
            key.removeprefix(prefix): value.detach().cpu().contiguous()
            for key, value in state.items()
            if key.startswith(prefix)
        }
        for prefix in (_CLIP, _HEAD)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # the head first: where the CLIP is, the encoder is whole
    if parts[_HEAD]:
        save_file(parts[_HEAD], path.with_name(HEAD_FILE), metadata={"conical.head": encoder.head_name})
    preprocess = json.dumps({"mean": encoder.pixel_mean, "std": encoder.pixel_std})
    # one entry: safetensors writes several in any order, and the same weights must be the same file
    save_file(parts[_CLIP], path, metadata={"conical.preprocess": preprocess})


def read_encoder_state(encoder: DualEncoder, path: Path) -> dict[str, Tensor]:
    """The state that `save_encoder` wrote of an encoder like this one.

    Raises:
        StoreError: a file is absent, damaged, or of another head.
    """
    head = path.with_name(HEAD_FILE)
    try:
        state = {f"{_CLIP}{key}": value for key, value in load_file(path).items()}
        if encoder.head.state_dict():
            name = _metadata(head).get("conical.head")
            if name != encoder.head_name:
                raise StoreError(f"{head} must hold head {encoder.head_name!r}, got {name!r}: train again")
            state |= {f"{_HEAD}{key}": value for key, value in load_file(head).items()}
    except (OSError, SafetensorError) as error:
        raise StoreError(f"encoder {path} cannot be loaded ({fault(error)}): train again") from error
    return state


def load_encoder(encoder: DualEncoder, path: Path) -> None:
    """Load what `save_encoder` wrote, CLIP and head.

    Raises:
        StoreError: a file is absent, damaged, or does not fit the encoder.
    """
    try:
        encoder.load_state_dict(read_encoder_state(encoder, path))
    except RuntimeError as error:
        raise StoreError(f"encoder {path} cannot be loaded ({_fault(error)}): train again") from error


def read_preprocess(path: Path) -> dict[str, list[float]]:
    """`mean` and `std` of the pixels, as `save_encoder` wrote them.

    Raises:
        StoreError: the file is absent, damaged or another's.
    """
    try:
        told = json.loads(_metadata(path)["conical.preprocess"])
    except (OSError, SafetensorError, KeyError) as error:
        raise StoreError(f"encoder {path} cannot be read ({fault(error)}): train again") from error
    return cast("dict[str, list[float]]", told)


def load_head_beside(head: nn.Module, weights: Path, *, name: str) -> bool:
    """Load a head from beside the CLIP's weights, if it is the one of this name.

    Args:
        head: its parameters are replaced.
        name: as in `model.head`.

    Returns:
        Whether there was one.

    Raises:
        ConfigError: it is of this name and does not fit, or cannot be read.
    """
    path = weights.with_name(HEAD_FILE)
    try:
        if not head.state_dict() or not path.is_file() or _metadata(path).get("conical.head") != name:
            return False
        head.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"head {str(path)!r} is no whole safetensors file ({fault(error)}): get it again, or remove it to start "
            "with a fresh head"
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"head {str(path)!r} does not fit {name}: {_fault(error)}") from error
    return True


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _fault(error: RuntimeError) -> str:
    """The first key that does not fit, of torch's list."""
    return str(error).splitlines()[:2][-1].strip()

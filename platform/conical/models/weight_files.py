"""An encoder on disk: its CLIP as a checkpoint of open_clip's, head and projections beside it.

    encoder.safetensors   open_clip's own keys; the metadata hold `conical.preprocess`, the mean and std of its pixels
    head.safetensors      parameters and buffers of `head`, `image_projection` and `text_projection`; absent if they
                          have none. The metadata hold `conical.head`, the head's name

So a CLIP that was trained here loads by `open_clip.load_checkpoint`, and as `model.weights` of another run. Low-rank
changes are merged into the weights that they change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from conical.core.errors import ConfigError, StoreError
from conical.models.architecture import fault
from conical.models.options import HEAD_FILE

if TYPE_CHECKING:
    from conical.models.dual_encoder import DualEncoder

_CLIP = "clip."


def save_encoder(encoder: DualEncoder, path: Path, *, state: Mapping[str, Tensor] | None = None) -> None:
    """Write an encoder's CLIP to `path`, and what else it has beside it.

    Args:
        path: of the CLIP, by its suffix a safetensors file.
        state: an earlier `plain_state` of the encoder, in place of its present one.
    """
    state = encoder.plain_state() if state is None else state
    clip = {key.removeprefix(_CLIP): value.contiguous() for key, value in state.items() if key.startswith(_CLIP)}
    rest = {key: value.contiguous() for key, value in state.items() if not key.startswith(_CLIP)}
    path.parent.mkdir(parents=True, exist_ok=True)
    # the head first: where the CLIP is, the encoder is whole
    if rest:
        save_file(rest, path.with_name(HEAD_FILE), metadata={"conical.head": encoder.head_name})
    preprocess = json.dumps({"mean": encoder.pixel_mean, "std": encoder.pixel_std})
    # one entry: safetensors writes several in any order, and the same weights must be the same file
    save_file(clip, path, metadata={"conical.preprocess": preprocess})


def read_encoder_state(encoder: DualEncoder, path: Path) -> dict[str, Tensor]:
    """The plain state that `save_encoder` wrote of an encoder like this one.

    Raises:
        StoreError: a file is absent, damaged, or of another head.
    """
    head = path.with_name(HEAD_FILE)
    try:
        state = {f"{_CLIP}{key}": value for key, value in load_file(path).items()}
        if any(not key.startswith(_CLIP) for key in encoder.state_dict()):
            name = _metadata(head).get("conical.head")
            if name != encoder.head_name:
                raise StoreError(f"{head} must hold head {encoder.head_name!r}, got {name!r}: train again")
            state |= load_file(head)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"encoder {path} cannot be loaded ({fault(error)}): train again") from error
    return state


def load_encoder(encoder: DualEncoder, path: Path) -> None:
    """Load what `save_encoder` wrote, CLIP, projections and head.

    Raises:
        StoreError: a file is absent, damaged, or does not fit the encoder.
    """
    try:
        encoder.load_plain_state(read_encoder_state(encoder, path))
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


def load_parts_beside(encoder: DualEncoder, weights: Path) -> list[str]:
    """Load projections and head from beside the CLIP's weights: those that are there and of the same kind.

    Args:
        encoder: its parameters are replaced; a head of another name stays fresh, and so does a projection where there
            was none.

    Returns:
        Names of the parts that were loaded.

    Raises:
        ConfigError: a part does not fit, or the file cannot be read.
    """
    path = weights.with_name(HEAD_FILE)
    if not path.is_file():
        return []
    try:
        state, name = load_file(path), _metadata(path).get("conical.head")
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"head {str(path)!r} is no whole safetensors file ({fault(error)}): get it again, or remove it to start "
            "with a fresh head"
        ) from error
    loaded = []
    for part in ("image_projection", "text_projection", "head"):
        module = getattr(encoder, part)
        own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
        if not own or not module.state_dict() or (part == "head" and name != encoder.head_name):
            continue
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            what = encoder.head_name if part == "head" else f"model.{part}"
            raise ConfigError(f"head {str(path)!r} does not fit {what}: {_fault(error)}") from error
        loaded.append(part)
    return loaded


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _fault(error: RuntimeError) -> str:
    """The first key that does not fit, of torch's list."""
    return str(error).splitlines()[:2][-1].strip()

"""Options that belong to no room below: the search, the cluster, the tracking server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conical.core.options import Options, require, require_choice

# how a dimension of the search space may be drawn: what the list must hold
_DRAWS = {
    "uniform": "two numbers, low < high",
    "log_uniform": "two numbers, 0 < low < high",
    "choice": "at least two values",
    "simplex": "at least two names of text sources (only for `mix`)",
}


@dataclass(frozen=True, kw_only=True)
class TuneOptions(Options):
    """The `[tune]` table.

    Args:
        num_trials: >= 1.
        max_concurrent: trials that run at once, >= 1.
        scheduler: `asha` stops weak trials early; `none` runs all to the end.
        grace_epochs: epochs a trial runs before ASHA may stop it, >= 1.
        reduction_factor: ASHA keeps one of this many trials at each rung, >= 2.
        space: dotted name to one draw, for example `{log_uniform = [1.0, 100.0]}`.
    """

    num_trials: int = 6
    max_concurrent: int = 2
    scheduler: str = "asha"
    grace_epochs: int = 1
    reduction_factor: int = 2
    space: dict[str, dict[str, list[Any]]] = field(
        default_factory=lambda: {
            "loss.tau_tv": {"log_uniform": [1.0, 100.0]},
            "loss.tau_ta": {"log_uniform": [1.0, 100.0]},
            "loss.tau_va": {"log_uniform": [1.0, 100.0]},
            "mix": {"simplex": ["human", "A", "B", "C"]},
        }
    )

    def __post_init__(self) -> None:
        require(self.num_trials >= 1, f"num_trials must be >= 1, got {self.num_trials}")
        require(self.max_concurrent >= 1, f"max_concurrent must be >= 1, got {self.max_concurrent}")
        require_choice("scheduler", self.scheduler, ("asha", "none"))
        require(self.grace_epochs >= 1, f"grace_epochs must be >= 1, got {self.grace_epochs}")
        require(self.reduction_factor >= 2, f"reduction_factor must be >= 2, got {self.reduction_factor}")
        for key, draw in self.space.items():
            _check_draw(key, draw)


def _check_draw(key: str, draw: Mapping[str, list[Any]]) -> None:
    require(
        len(draw) == 1 and next(iter(draw)) in _DRAWS,
        f"space.{key} must be one of {', '.join(_DRAWS)} with a list, got {dict(draw)!r}",
    )
    kind, values = next(iter(draw.items()))
    if kind in ("uniform", "log_uniform"):
        is_valid = len(values) == 2 and all(isinstance(v, (int, float)) for v in values) and values[0] < values[1]
        is_valid = is_valid and (kind == "uniform" or values[0] > 0)
    else:
        is_valid = len(values) >= 2 and (kind == "choice" or all(isinstance(v, str) for v in values))
    require(is_valid, f"space.{key}.{kind} must hold {_DRAWS[kind]}, got {values!r}")
    require((kind == "simplex") == (key == "mix"), f"space.{key}: `simplex` belongs to `mix` and `mix` to `simplex`")


@dataclass(frozen=True, kw_only=True)
class RayOptions(Options):
    """The `[ray]` table.

    Args:
        num_workers: DDP ranks of one training run, >= 1; divides `optim.batch_size`.
        use_gpu: give each rank and captioner a GPU.
        cpus_per_worker: CPUs each rank reserves; fractions leave some for data on a small machine, > 0.
        max_failures: times a training run or trial is restarted from its last checkpoint, >= 0.
        num_captioners: most actors of the caption stage, >= 1; it begins with those that find room.
        decode_deadline_seconds: a file that takes longer than this and 1 s for each MB of it is set aside, > 0.
        frame_map_folder: where each machine keeps the array of frames that its processes share: an absolute path on a
            local disk. "": `cache` of the workspace, or, where that is on a file system of several machines, a folder
            of the user's below the temporary folder.
        frame_access: how training and evaluation come by the frames; the numbers are equal. `map`: from that array,
            the fastest, with every frame on disk once more, uncompressed. `decode`: from the stored parts, each clip
            when its batch is made, for data too large for an array. `auto`: for each split `map` where its array is
            there already or would take at most 20 GB and half of the free disk, else `decode`.
    """

    num_workers: int = 2
    use_gpu: bool = False
    cpus_per_worker: float = 0.5
    max_failures: int = 3
    num_captioners: int = 2
    decode_deadline_seconds: float = 60.0
    frame_map_folder: str = ""
    frame_access: str = "auto"

    def __post_init__(self) -> None:
        require(self.num_workers >= 1, f"num_workers must be >= 1, got {self.num_workers}")
        require(self.cpus_per_worker > 0, f"cpus_per_worker must be > 0, got {self.cpus_per_worker}")
        require(self.max_failures >= 0, f"max_failures must be >= 0, got {self.max_failures}")
        require(self.num_captioners >= 1, f"num_captioners must be >= 1, got {self.num_captioners}")
        require(
            self.decode_deadline_seconds > 0, f"decode_deadline_seconds must be > 0, got {self.decode_deadline_seconds}"
        )
        require(
            self.frame_map_folder == "" or Path(self.frame_map_folder).is_absolute(),
            f"frame_map_folder must be an absolute path, got {self.frame_map_folder!r}",
        )
        require_choice("frame_access", self.frame_access, ("auto", "map", "decode"))


@dataclass(frozen=True, kw_only=True)
class TrackingOptions(Options):
    """The `[tracking]` table.

    Args:
        uri: an MLflow server; "": SQLite in the workspace.
        tags: put on every run.
    """

    uri: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            self.uri == "" or self.uri.startswith(("http://", "https://", "sqlite:", "postgresql", "mysql")),
            f"uri must be an http(s) or database address, got {self.uri!r}: MLflow refuses plain folders",
        )

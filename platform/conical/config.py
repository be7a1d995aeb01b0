"""One experiment as one value: what a complete TOML file says, checked.

The only module that imports pydantic, and only to check: every part is a frozen dataclass that stands beside the code
it configures. The dotted names (`loss.tau_tv`) are the names of `--set`, of the search space and of the MLflow params.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import TypeAdapter, ValidationError

from conical.captioning.mix import PromptMix
from conical.captioning.options import CaptionOptions
from conical.core.errors import ConfigError
from conical.core.options import Options, did_you_mean, require, require_choice
from conical.datasets.options import DatasetOptions
from conical.engine.options import EvaluateOptions, OptimOptions
from conical.losses.options import LossOptions
from conical.metrics.names import parse_metric_name
from conical.models.options import ModelOptions
from conical.video.augment import AugmentOptions
from conical.video.recipe import FrameRecipe

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
        metric: what is maximised; a metric of the val split, unscaled (a rescored family is refused).
        scheduler: `asha` stops weak trials early; `none` runs all to the end.
        grace_epochs: epochs a trial runs before ASHA may stop it, >= 1.
        reduction_factor: ASHA keeps one of this many trials at each rung, >= 2.
        space: dotted name to one draw, for example `{log_uniform = [1.0, 100.0]}`.
    """

    num_trials: int = 6
    max_concurrent: int = 2
    metric: str = "val/raw/t2v/R1"
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
        name = parse_metric_name(self.metric)
        require(
            name.split == "val",
            f"metric must be of the val split, got {self.metric!r}: test is scored once, for the chosen trial",
        )
        require(name.family is None, f"metric must not be rescored, got {self.metric!r}: use the plain protocol")
        require(name.protocol == "raw", f"metric must be of protocol raw, got {self.metric!r}: val is scored under it")
        require(name.subset is None, f"metric must be of the whole val split, got {self.metric!r}")
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
        num_captioners: actors of the caption stage, >= 1.
        decode_deadline_seconds: a file that takes longer than this and 1 s for each MB of it is set aside, > 0.
    """

    num_workers: int = 2
    use_gpu: bool = False
    cpus_per_worker: float = 0.5
    max_failures: int = 3
    num_captioners: int = 2
    decode_deadline_seconds: float = 60.0

    def __post_init__(self) -> None:
        require(self.num_workers >= 1, f"num_workers must be >= 1, got {self.num_workers}")
        require(self.cpus_per_worker > 0, f"cpus_per_worker must be > 0, got {self.cpus_per_worker}")
        require(self.max_failures >= 0, f"max_failures must be >= 0, got {self.max_failures}")
        require(self.num_captioners >= 1, f"num_captioners must be >= 1, got {self.num_captioners}")
        require(
            self.decode_deadline_seconds > 0, f"decode_deadline_seconds must be > 0, got {self.decode_deadline_seconds}"
        )


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


@dataclass(frozen=True, kw_only=True)
class Experiment(Options):
    """Everything one run depends on. The defaults are the offline demo.

    Args:
        name: experiment the run belongs to, in the workspace and in MLflow.
        label: what tables call the run; "" derives a name from loss and mix.
        seed: of every random choice, >= 0.
    """

    name: str = "demo"
    label: str = ""
    seed: int = 0
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    frames: FrameRecipe = field(default_factory=lambda: FrameRecipe(size=64))
    captions: CaptionOptions = field(default_factory=CaptionOptions)
    mix: PromptMix = field(default_factory=PromptMix)
    model: ModelOptions = field(default_factory=ModelOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    tune: TuneOptions = field(default_factory=TuneOptions)
    ray: RayOptions = field(default_factory=RayOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)

    def __post_init__(self) -> None:
        plain = self.name.replace("-", "").replace("_", "").replace(".", "")
        require(plain.isalnum(), f"name must be letters, digits, '-', '_' or '.', got {self.name!r}")
        require(self.seed >= 0, f"seed must be >= 0, got {self.seed}")
        require(
            self.optim.batch_size % self.ray.num_workers == 0,
            f"optim.batch_size must be a multiple of ray.num_workers = {self.ray.num_workers}, "
            f"got {self.optim.batch_size}",
        )
        size = self.model.card.image_size_px
        require(
            size in (0, self.frames.size),
            f"frames.size must be {size}, the side of {self.model.name}'s images, got {self.frames.size}",
        )
        require(
            self.augment.num_frames <= self.frames.num_frames,
            f"augment.num_frames must be at most frames.num_frames = {self.frames.num_frames}, "
            f"got {self.augment.num_frames}: lower it or raise frames.num_frames and ingest again",
        )
        known = _dotted_names(type(self))
        for key in self.tune.space:
            require(key in known, f"tune.space.{key} is not a setting.{did_you_mean(key, known)}")

    @property
    def title(self) -> str:
        """The label, or what the settings say, so that a changed setting never runs under another's name."""
        if self.label:
            return self.label
        if self.optim.epochs == 0:
            return f"{self.model.name} as loaded"
        shares = " + ".join(f"{share:.2g} {source}" for source, share in self.mix.weights().items() if share > 0)
        return f"{self.loss.card.title}, {shares}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a TOML file would hold them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def to_toml(self) -> str:
        """A complete file that gives this experiment again."""
        return tomli_w.dumps(_without_none(self.to_dict()))

    def params(self) -> dict[str, str]:
        """Dotted names and values, for MLflow; no secrets are among them (keys live in environment variables)."""
        return {key: str(value) for key, value in _flatten(self.to_dict()).items()}

    def replace(self, values: Mapping[str, Any]) -> Experiment:
        """Another experiment with some dotted names set.

        Raises:
            ConfigError: a name or value is refused.
        """
        data = self.to_dict()
        for key, value in values.items():
            _assign(data, key, value)
        return parse_experiment(_without_none(data), origin="the changed settings")


def load_experiment(path: str | Path | None, overrides: Sequence[str] = ()) -> Experiment:
    """Read a TOML file and apply `--set` overrides; no file means the offline demo.

    Args:
        path: the file, or None.
        overrides: `loss.tau_tv=40` and the like; the value is read as TOML, a bare word as text.

    Raises:
        ConfigError: the file is absent or not TOML, or a key, type or value is refused; one line a fault.
    """
    # the whole demo, so that one changed setting of a table leaves its neighbours at the demo's values
    data: dict[str, Any] = _without_none(Experiment().to_dict())
    origin = "the settings"
    if path is not None:
        origin = str(path)
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"config {origin} cannot be read ({error.strerror}): give the path of a TOML file"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"config {origin} is not TOML: {error}") from error
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set takes KEY=VALUE, got {override!r}: for example --set loss.tau_tv=40")
        _assign(data, key.strip(), _parse_value(text.strip()))
    return parse_experiment(data, origin=origin)


def parse_experiment(data: Mapping[str, Any], *, origin: str) -> Experiment:
    """Check plain values and build the experiment.

    Raises:
        ConfigError: names the dotted path, the value, what is allowed.
    """
    try:
        # through JSON: in that mode strict still takes an array for a tuple and 1 for 1.0, as TOML means them
        return TypeAdapter(Experiment).validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = [_describe(fault) for fault in error.errors()]
        raise ConfigError(f"{origin}: " + "\n".join(lines)) from error


def _describe(fault: Mapping[str, Any]) -> str:
    """One line for one fault of pydantic's."""
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        parent, allowed = _fields_at(fault["loc"][:-1])
        key = str(fault["loc"][-1])
        where = f" in [{parent}]" if parent else ""
        return f"unknown key {path!r}: allowed{where} are {', '.join(allowed)}.{did_you_mean(key, allowed)}"
    if fault["type"] == "value_error":
        return _with_path(str(fault["ctx"]["error"]), fault["loc"])
    return f"{path} must be {fault['msg'].removeprefix('Input should be ')}, got {fault['input']!r}"


def _with_path(message: str, location: Sequence[Any]) -> str:
    """A table's own message with the dotted path in front: `tau_tv must be ...` becomes `loss.tau_tv must be ...`."""
    path, names = _fields_at(location)
    subject = message.split(maxsplit=1)[0].rstrip(":")
    if not path or (subject.split(".")[0] in path.split(".") and subject not in names):
        parents = path.rpartition(".")[0]
        return f"{parents}.{message}" if parents else message
    return f"{path}.{message}" if subject.split(".")[0] in names else f"{path}: {message}"


def _fields_at(location: Sequence[Any]) -> tuple[str, list[str]]:
    """The table at a path and the keys it allows."""
    owner: Any = Experiment
    for part in location:
        owner = typing.get_type_hints(owner)[part]
    return ".".join(str(part) for part in location), [item.name for item in dataclasses.fields(owner)]


def _dotted_names(owner: type, prefix: str = "") -> list[str]:
    """All settings, tables included."""
    names = []
    for item in dataclasses.fields(owner):
        hint = typing.get_type_hints(owner)[item.name]
        names.append(prefix + item.name)
        if dataclasses.is_dataclass(hint):
            names += _dotted_names(hint, f"{prefix}{item.name}.")
    return names


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{key!r} cannot be set: {parent!r} is a value, not a table")
    data[last] = value


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _without_none(data: Any) -> Any:
    """TOML has no null: what is None is left out, and its default is None."""
    if isinstance(data, dict):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    return data

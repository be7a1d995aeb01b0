"""One experiment as one value: every setting with its default, checked.

Every part is a frozen dataclass that stands beside the code it configures. The dotted names (`loss.tau_tv`) are the
names of `--set`, of the search space and of the MLflow params.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import tomli_w

from conical.captioning.mix import HUMAN, PromptMix
from conical.captioning.options import CaptionOptions
from conical.config.check import MIX_SCHEMA, check
from conical.config.nested import assign, difference, dotted_names, flatten, merge, without_none
from conical.config.options import RayOptions, TrackingOptions, TuneOptions
from conical.core.errors import ConfigError
from conical.core.options import Options, did_you_mean, require
from conical.datasets.options import DatasetOptions
from conical.engine.options import EvaluateOptions, OptimOptions
from conical.losses import loss_card
from conical.losses.options import LossOptions
from conical.metrics.names import parse_metric_name
from conical.models.heads.table import head_card
from conical.models.options import ModelOptions
from conical.video.augment import AugmentOptions
from conical.video.recipe import FrameRecipe

# of `[optim]` and `[model]`: what a method is told by
_RATES = ("learning_rate", "new_learning_rate", "rates")
_TRAINED_PARTS = ("head", "head_settings", "freeze", "lora")
# of `[captions]`: who wrote the supplements
_CAPTIONER = ("captioner", "model")


@dataclass(frozen=True, kw_only=True)
class Experiment(Options):
    """Everything one run depends on. The defaults are the offline demo.

    Args:
        name: experiment the run belongs to, in the workspace and in MLflow.
        label: what tables call the run; "" derives a name from the settings that tell methods apart.
        seed: of every random choice, >= 0.
        select_by: metric that chooses the epoch, the trial and the winner, whichever way it improves; of the whole val
            split, under `raw`, not rescored.
        mix: share of each text source in training, `human` or the id of a prompt; the shares sum to 1. A source that
            is not named has none.
    """

    name: str = "demo"
    label: str = ""
    seed: int = 0
    select_by: str = "val/raw/t2v/R1"
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    frames: FrameRecipe = field(default_factory=lambda: FrameRecipe(size=64))
    captions: CaptionOptions = field(default_factory=CaptionOptions)
    mix: Annotated[PromptMix, MIX_SCHEMA] = field(default_factory=PromptMix)
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
        _check_selection(self.select_by)
        require(
            self.optim.batch_size % self.ray.num_workers == 0,
            f"optim.batch_size must be a multiple of ray.num_workers = {self.ray.num_workers}, "
            f"got {self.optim.batch_size}",
        )
        require(
            self.optim.chunk_size == 0 or self.model.batch_norm == "held",
            "optim.chunk_size must be 0 where model.batch_norm is 'trained': chunks would be normalised apart",
        )
        size = self.model.card.image_size_px
        require(
            size in (0, self.frames.size),
            f"frames.size must be {size}, the side of {self.model.name}'s images, got {self.frames.size}",
        )
        for name in ("num_frames", "num_scored_frames"):
            taken = getattr(self.augment, name)
            require(
                taken <= self.frames.num_frames,
                f"augment.{name} must be at most frames.num_frames = {self.frames.num_frames}, got {taken}: lower it "
                "or raise frames.num_frames and ingest again",
            )
        known = dotted_names(type(self))
        for key in self.tune.space:
            require(key in known, f"tune.space.{key} is not a setting.{did_you_mean(key, known)}")

    @property
    def title(self) -> str:
        """The label, or loss, mix and whatever differs from its default in loss, head, rates, copies and captioner.

        >>> Experiment().replace({"mix": {"human": 1.0}, "loss.tau_tv": 90.0, "optim.learning_rate": 1e-5}).title
        'CEO, 1 human, tau_tv 90, learning_rate 1e-05'
        """
        if self.label:
            return self.label
        if self.optim.epochs == 0:
            return f"{self.model.name} as loaded"
        shares = " + ".join(f"{share:.2g} {source}" for source, share in self.mix.items())
        changed = self.differences()
        told = flatten(changed.get("loss", {})) | flatten(changed.get("augment", {}), "augment.")
        told |= {name: value for name, value in changed.get("optim", {}).items() if name in _RATES}
        told |= flatten({name: value for name, value in changed.get("model", {}).items() if name in _TRAINED_PARTS})
        if set(self.mix.sources()) - {HUMAN}:
            told |= {name: value for name, value in changed.get("captions", {}).items() if name in _CAPTIONER}
        told.pop("name", None)
        words = (f"{name} {_plain(value)}" for name, value in told.items())
        return ", ".join([f"{self.loss.card.title}, {shares}", *words])

    @property
    def head_prompts(self) -> tuple[str, ...]:
        """Prompts whose supplements the head reads, in training as in a captioned gallery; () for most heads."""
        return self.evaluate.gallery_prompts if head_card(self.model.head).needs_captions else ()

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, as a TOML file would hold them."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=dict))
        return plain

    def differences(self) -> dict[str, Any]:
        """What differs from the defaults, in nested tables; a dictionary such as `mix` is there whole or not at all.

        >>> Experiment().replace({"seed": 3, "frames.num_frames": 8, "mix.C": 0.0}).differences()
        {'seed': 3, 'frames': {'num_frames': 8}}
        """
        base = Experiment().to_dict()
        use_loss_defaults(base, self.loss.name)
        return difference(self.to_dict(), base, owner=Experiment)

    def to_toml(self, *, only_differences: bool = False) -> str:
        """A file that gives this experiment again.

        Args:
            only_differences: leave out what equals the defaults, as the files in `jobs/configs` do; else every setting
                is written, so that the file says the same whatever the defaults become.
        """
        return tomli_w.dumps(without_none(self.differences() if only_differences else self.to_dict()))

    def params(self) -> dict[str, str]:
        """Dotted names and values, for MLflow; no secrets are among them (keys live in environment variables)."""
        return {key: str(value) for key, value in flatten(self.to_dict()).items()}

    def replace(self, values: Mapping[str, Any]) -> Experiment:
        """Another experiment with some dotted names set.

        Args:
            values: `loss.tau_tv` sets one value, `mix.A` one share, `mix` the whole mix; a table such as `loss` takes
                the keys to change. A loss that is newly named brings its own defaults.

        Raises:
            ConfigError: a name or value is refused.
        """
        data = self.to_dict()
        use_loss_defaults(data, named_loss(values.items()))
        for key, value in values.items():
            assign(key, value, into=data, owner=Experiment)
        return parse_experiment(data, origin="the changed settings")


def parse_experiment(data: Mapping[str, Any], *, origin: str) -> Experiment:
    """Merge plain values into the defaults, check them and build the experiment.

    Args:
        data: nested tables, complete or in part.
        origin: where they come from, for the message.

    Raises:
        ConfigError: names the dotted path, the value, what is allowed.
    """
    whole = Experiment().to_dict()
    use_loss_defaults(whole, named_loss(data.items()))
    merge(data, into=whole, owner=Experiment)
    return check(Experiment, whole, origin=origin)


def named_loss(values: Iterable[tuple[str, Any]]) -> object:
    """The loss that settings name: the last `loss.name`, or `name` of a table `loss`; None where they name none."""
    name: object = None
    for key, value in values:
        if key == "loss.name":
            name = value
        elif key == "loss" and isinstance(value, Mapping):
            name = value.get("name", name)
    return name


def use_loss_defaults(data: dict[str, Any], name: object) -> None:
    """Bring settings that have the defaults of their own loss to those of another; those that a user set stay.

    Args:
        data: complete settings; changed in place, but for the name itself, which is checked when it is set.
        name: the other loss; None, or one that does not exist, changes nothing.
    """
    old, new = _loss_defaults(data["loss"]["name"]), _loss_defaults(name)
    if old is None or new is None:
        return
    for key, value in new.items():
        if data["loss"][key] == old[key]:
            data["loss"][key] = value


def _loss_defaults(name: object) -> dict[str, Any] | None:
    if not isinstance(name, str):
        return None
    try:
        own = loss_card(name).defaults
    except (ValueError, ConfigError):
        return None  # the check of the settings says why
    base = dataclasses.asdict(LossOptions())
    return {key: own.get(key, value) for key, value in base.items() if key != "name"}


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_selection(metric: str) -> None:
    try:
        name = parse_metric_name(metric)
    except ValueError as error:
        raise ValueError(f"select_by: {error}") from error
    require(
        name.split == "val",
        f"select_by must be of the val split, got {metric!r}: test is scored once, for the chosen trial",
    )
    require(name.family is None, f"select_by must not be rescored, got {metric!r}: use the plain protocol")
    require(name.protocol == "raw", f"select_by must be of protocol raw, got {metric!r}: val is scored under it")
    require(name.subset is None, f"select_by must be of the whole val split, got {metric!r}")

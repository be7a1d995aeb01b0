"""Options of the loop and of evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from conical.core.options import Options, require, require_choice
from conical.core.records import SPLITS
from conical.core.registry import source_fingerprint
from conical.engine.protocols import PROTOCOLS, Protocol, find_protocol
from conical.metrics import SUBSETS, EvaluationName, Family, find_family


@dataclass(frozen=True, kw_only=True)
class OptimOptions(Options):
    """The `[optim]` table.

    Args:
        epochs: passes over the training rows, >= 0; 0 scores the model as it was loaded (zero-shot).
        batch_size: rows of the global batch, over all ranks, >= 2 (one row has no negative).
        rows_per_video: times each video is drawn in an epoch, each with a text of its own, >= 1. The number of human
            captions per video (20 for MSR-VTT) gives the epoch of the caption-wise loaders.
        learning_rate: peak rate of AdamW, > 0.
        new_learning_rate: peak rate of what starts fresh (head, projections, learnt scales), > 0; 0: `learning_rate`.
        rates: pairs of a pattern of parameter names (`encoder.clip.visual.*`) and the peak rate of those; the first
            that matches decides, before all else.
        layer_decay: each layer of a tower trains at this share of the rate of the layer above it, in (0, 1].
        weight_decay: decoupled, >= 0; norms, biases, scales and embeddings are spared.
        warmup_fraction: share of all steps with a linear rise, in [0, 1); a cosine to zero follows.
        max_grad_norm: gradients are clipped to this norm, > 0.
        precision: `float32`, `bfloat16` (autocast) or `auto` (bfloat16 where a GPU has it).
        chunk_size: rows of each rank whose forward pass is kept at once (gradient caching: the same gradient in less
            memory, for a second forward pass), >= 1; 0: all.
        checkpoint_activations: compute activations inside the towers' blocks again in the backward pass, for memory.
        ema_decay: share of the old in the moving average of the weights, which is what is scored and kept, in [0, 1);
            0: the weights themselves.
        eval_steps: steps between two scorings of val, >= 1; 0: an epoch.
        patience: end after this many scorings of val without a better one, >= 1; 0: never.
        checkpoint_steps: steps between two checkpoints within an epoch, >= 1; 0: none.
        checkpoint_minutes: the same in minutes, >= 0; 0: none.
    """

    epochs: int = 5
    batch_size: int = 50
    rows_per_video: int = 1
    learning_rate: float = 2e-4
    new_learning_rate: float = 0.0
    rates: tuple[tuple[str, float], ...] = ()
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0
    precision: str = "auto"
    chunk_size: int = 0
    checkpoint_activations: bool = False
    ema_decay: float = 0.0
    eval_steps: int = 0
    patience: int = 0
    checkpoint_steps: int = 0
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            require(value >= least, f"{name} must be >= {least}, got {value}")
        require(self.batch_size >= 2, f"batch_size must be >= 2 (one row has no negative), got {self.batch_size}")
        require(self.learning_rate > 0, f"learning_rate must be > 0, got {self.learning_rate}")
        for pattern, rate in self.rates:
            require(rate > 0, f"rates of {pattern!r} must be > 0, got {rate}: to train it not at all, name it in freeze")
        require(0 < self.layer_decay <= 1, f"layer_decay must be in (0, 1], got {self.layer_decay}")
        require(0 <= self.warmup_fraction < 1, f"warmup_fraction must be in [0, 1), got {self.warmup_fraction}")
        require(self.max_grad_norm > 0, f"max_grad_norm must be > 0, got {self.max_grad_norm}")
        require(0 <= self.ema_decay < 1, f"ema_decay must be in [0, 1), got {self.ema_decay}")
        require_choice("precision", self.precision, ("auto", "float32", "bfloat16"))


_LEAST = {
    "epochs": 0,
    "rows_per_video": 1,
    "new_learning_rate": 0,
    "weight_decay": 0,
    "chunk_size": 0,
    "eval_steps": 0,
    "patience": 0,
    "checkpoint_steps": 0,
    "checkpoint_minutes": 0,
}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Options):
    """The `[evaluate]` table.

    Args:
        protocols: what query and gallery are made of (`docs/method.md` 4): `raw`, `captioned-gallery`,
            `paired-supplement`, or `package.module:NAME` of a `Protocol`. Selection itself always uses `raw`.
        families: changes of the scores that are scored too, beside the plain ones: `dsl`, `qbnorm`, or
            `package.module:NAME` of a `Family`.
        subsets: parts of test that are scored too, beside the whole: `leak-free` (after `conical data audit`).
        splits: which splits `evaluate` scores; selection itself always uses `val`.
        gallery_prompts: supplements of these prompts join the frames in `captioned-gallery`; none may read the human
            caption.
        fusion_weights: shares of the supplements in the gallery that are tried on val, in [0, 1].
        paired_prompts: the query of `paired-supplement` is the caption, then a supplement of each of these.
        dsl_tau: scale inside the dual softmax, > 0.
        qbnorm_beta: scale inside QB-Norm, > 0.
        qbnorm_k: gallery entries that each query of the bank activates, >= 1.
        qbnorm_bank: most train captions (for v2t: train videos) in the bank, >= 1; drawn with a fixed seed.
        num_resamples: resamples of the 95 % intervals, >= 100.
        batch_size: clips or texts embedded at once, >= 1.
    """

    protocols: tuple[str, ...] = ("raw",)
    families: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("val", "test")
    gallery_prompts: tuple[str, ...] = ("B", "C")
    fusion_weights: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    paired_prompts: tuple[str, ...] = ("A",)
    dsl_tau: float = 100.0
    qbnorm_beta: float = 20.0
    qbnorm_k: int = 1
    qbnorm_bank: int = 5000
    num_resamples: int = 1000
    batch_size: int = 64

    def __post_init__(self) -> None:
        require(bool(self.protocols), f"protocols must name at least one of {', '.join(PROTOCOLS)}; got none")
        require(bool(self.splits), f"splits must name at least one of {', '.join(SPLITS)}; got none")
        for name, allowed in (("subsets", SUBSETS), ("splits", SPLITS)):
            for value in getattr(self, name):
                require_choice(name, value, allowed)
            _require_once(name, getattr(self, name))
        _require_once("protocols", [row.name for row in self.protocol_rows])
        _require_once("families", [row.name for row in self.family_rows])
        for name in ("gallery_prompts", "paired_prompts"):
            require(bool(getattr(self, name)), f"{name} must name at least one prompt, got none")
        require(
            bool(self.fusion_weights) and all(0 <= weight <= 1 for weight in self.fusion_weights),
            f"fusion_weights must be numbers in [0, 1], at least one, got {list(self.fusion_weights)}",
        )
        require(self.dsl_tau > 0, f"dsl_tau must be > 0, got {self.dsl_tau}")
        require(self.qbnorm_beta > 0, f"qbnorm_beta must be > 0, got {self.qbnorm_beta}")
        require(self.qbnorm_k >= 1, f"qbnorm_k must be >= 1, got {self.qbnorm_k}")
        require(self.qbnorm_bank >= 1, f"qbnorm_bank must be >= 1, got {self.qbnorm_bank}")
        require(self.num_resamples >= 100, f"num_resamples must be >= 100, got {self.num_resamples}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")

    def names(self) -> tuple[EvaluationName, ...]:
        """All that is to be scored, in the order of the table; subsets are of test only.

        >>> [str(name) for name in EvaluateOptions(splits=("test",), families=("dsl",)).names()]
        ['test/raw', 'test/raw.dsl']
        """
        return tuple(
            EvaluationName(split=split, protocol=protocol, family=family, subset=subset)
            for split in self.splits
            for subset in (None, *(self.subsets if split == "test" else ()))
            for protocol in (row.name for row in self.protocol_rows)
            for family in (None, *(row.name for row in self.family_rows))
        )

    @property
    def protocol_rows(self) -> tuple[Protocol, ...]:
        """What `protocols` names, in its order.

        Raises:
            ValueError: there is no such protocol.
        """
        return tuple(find_protocol(word, what="protocols") for word in self.protocols)

    @property
    def family_rows(self) -> tuple[Family, ...]:
        """What `families` names, in its order.

        Raises:
            ValueError: there is no such family.
        """
        return tuple(find_family(word, what="families") for word in self.families)

    def protocol(self, name: str) -> Protocol:
        """The protocol of an evaluation of `names`.

        Raises:
            ValueError: it is not among `protocols`.
        """
        return _row_called(name, self.protocol_rows, "protocol")

    def family(self, name: str) -> Family:
        """The family of an evaluation of `names`.

        Raises:
            ValueError: it is not among `families`.
        """
        return _row_called(name, self.family_rows, "family")

    def only(self, names: Iterable[EvaluationName]) -> EvaluateOptions:
        """The same options with no protocols but those of some evaluations of `names`."""
        wanted = {name.protocol for name in names}
        words = [word for word, row in zip(self.protocols, self.protocol_rows, strict=True) if row.name in wanted]
        return dataclasses.replace(self, protocols=tuple(words))

    @property
    def supplement_prompts(self) -> frozenset[str]:
        """Prompts of the supplements that these protocols read; `raw` reads none."""
        return frozenset(prompt for protocol in self.protocol_rows for prompt in protocol.prompts(self))

    def behind(self, name: EvaluationName) -> dict[str, Any]:
        """The settings that change the numbers of one evaluation of `names`.

        Batch size does not, and the number of resamples only how finely an interval is cut.
        """
        found = {option: getattr(self, option) for option in self.protocol(name.protocol).options}
        if name.family is not None:
            family = self.family(name.family)
            found |= {
                family.options.get(parameter, parameter): value for parameter, value in family.set_by(self).items()
            }
            found |= {"qbnorm_bank": self.qbnorm_bank} if family.needs_bank else {}
        return {option: list(value) if isinstance(value, tuple) else value for option, value in found.items()}

    def outside_code(self, name: EvaluationName) -> dict[str, str]:
        """`protocol` and `family` of one evaluation to a hash of the file they stand in, for those from outside."""
        asked = {
            "protocol": [path for path in self.protocols if find_protocol(path).name == name.protocol],
            "family": [path for path in self.families if find_family(path).name == name.family],
        }
        marks = {what: source_fingerprint(path) for what, paths in asked.items() for path in paths}
        return {what: mark for what, mark in marks.items() if mark}

    def splits_behind(self, name: EvaluationName) -> tuple[str, ...]:
        """The splits whose data the numbers of one evaluation of `names` depend on."""
        splits = {name.split, *self.protocol(name.protocol).splits}
        has_bank = name.family is not None and self.family(name.family).needs_bank
        return tuple(sorted(splits | ({"train"} if has_bank else set())))


def _require_once(name: str, values: Sequence[str]) -> None:
    require(len(set(values)) == len(values), f"{name} must name each once, got {', '.join(values)}")


Row = TypeVar("Row", Protocol, Family)


def _row_called(name: str, rows: Sequence[Row], what: str) -> Row:
    for row in rows:
        if row.name == name:
            return row
    raise ValueError(f"{what} {name!r} is not among those asked for: {', '.join(row.name for row in rows) or 'none'}")

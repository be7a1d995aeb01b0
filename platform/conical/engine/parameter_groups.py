"""The groups of AdamW: which parameter trains at which rate, which is decayed, and which stays as it is.

A parameter's peak rate is that of the first pattern of `rates` that matches its name, else `new_learning_rate` for
fresh parts, else `learning_rate`; in a tower times layer_decay^depth, with depth as `tower_depth` counts it.

Not decayed are parameters with fewer than two dimensions, norms, biases, scales, and embeddings of tokens, positions,
segments and classes. Weights of convolutions that embed patches are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from conical.core.errors import ConfigError
from conical.core.name_patterns import matching
from conical.engine.options import OptimOptions
from conical.engine.tower_depth import depths_from_top, place_in_tower

# parts of an objective that no checkpoint of a CLIP brings
FRESH = ("head.", "image_projection.", "text_projection.", "scales.")
_LOW_RANK = ".lora_"
# a computed weight (LoRA) is judged by the name of the weight
_PARAMETRIZED = re.compile(r"parametrizations\.(\w+)\.(?:original\d*|\d+\.\w+)$")
_UNDECAYED = re.compile(
    r"(ln|bn)(_\w+|\d+)?|\w*norm\w*"  # norms
    r"|(\w+_)?bias(es|_table)?"  # biases, those of relative positions too
    r"|(log_|logit_)?scales?|gamma\w*"  # scales
    r"|(?!patch)(\w+_)?(embeddings?|embed|emb|tokens?)|embed_tokens|wte|wpe|shared",  # embeddings
    re.IGNORECASE,
)


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], *, options: OptimOptions
) -> list[dict[str, Any]]:
    """Groups for `torch.optim.AdamW`, one for each rate and weight decay that occurs.

    Args:
        named_parameters: of an objective; patterns are of names without `encoder.` in front. Those without
            `requires_grad` are in no group, but count as blocks of their tower.

    Returns:
        Dictionaries with `params`, `weight_decay`, and the peak rate as `lr` and `base_rate`, by falling rate; a
        schedule sets `lr` to `base_rate` times its factor.

    Raises:
        ConfigError: no parameter is trained; a pattern of `rates` matches none that is trained, or none that an earlier
            pattern left; or `layer_decay` is below 1 and a trained tower has no blocks that can be told by their names.
    """
    parameters = {name.removeprefix("encoder."): parameter for name, parameter in named_parameters}
    trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    if not trained:
        raise ConfigError("no parameter is trained: freeze fewer, or train 0 epochs")
    chosen = _rates_by_pattern(trained, options)
    depths = depths_from_top(parameters)
    if options.layer_decay < 1:
        _refuse_towers_without_blocks(trained, parameters, options.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        rate = chosen.get(name) or _default_rate(name, options)
        rate *= options.layer_decay ** depths.get(name, 0)
        weight_decay = options.weight_decay if is_decayed(name, parameter) else 0.0
        groups.setdefault((rate, weight_decay), []).append(parameter)
    return [
        {"params": groups[rate, weight_decay], "lr": rate, "base_rate": rate, "weight_decay": weight_decay}
        for rate, weight_decay in sorted(groups, reverse=True)
    ]


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on a parameter of this name and shape.

    >>> import torch
    >>> weight = nn.Parameter(torch.ones(2, 2))
    >>> is_decayed("clip.visual.proj", weight), is_decayed("clip.token_embedding.weight", weight)
    (True, False)
    """
    if parameter.ndim < 2:
        return False
    # what it belongs to says more than `weight`
    last = _PARAMETRIZED.sub(r"\1", name).removesuffix(".weight").rpartition(".")[2]
    return _UNDECAYED.fullmatch(last) is None


def _default_rate(name: str, options: OptimOptions) -> float:
    is_fresh = name.startswith(FRESH) or _LOW_RANK in name
    return options.new_learning_rate if is_fresh and options.new_learning_rate > 0 else options.learning_rate


def _rates_by_pattern(trained: Iterable[str], options: OptimOptions) -> dict[str, float]:
    rates: dict[str, float] = {}
    for pattern, rate in options.rates:
        names = matching(trained, pattern, what="optim.rates", among="trained parameters")
        left = [name for name in names if name not in rates]
        if not left:
            raise ConfigError(
                f"optim.rates {pattern!r} decides nothing: an earlier pattern has each of its {len(names)} parameters; "
                "put the narrower one first"
            )
        rates |= dict.fromkeys(left, rate)
    return rates


def _refuse_towers_without_blocks(trained: Iterable[str], names: Iterable[str], layer_decay: float) -> None:
    """A tower whose blocks have names of another kind would train at one rate without a word."""
    with_blocks = {place.tower for name in names if (place := place_in_tower(name)) and place.block is not None}
    for name in trained:
        place = place_in_tower(name)
        if place is not None and place.tower not in with_blocks:
            raise ConfigError(
                f"optim.layer_decay {layer_decay} needs a tower with numbered blocks, and that of {name!r} has none: "
                "set it to 1, or give its parts their rates by patterns"
            )

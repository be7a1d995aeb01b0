"""From `[tune.space]` to what a searcher draws, and from a draw to settings.

A point on the simplex is drawn as independent uniforms u and taken as -log(u) / sum(-log(u)): exponentials normalised,
which is uniform on the simplex (Devroye, Non-Uniform Random Variate Generation, 1986, chapter XI.2.1). Searchers thus
see plain intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from conical.config import Experiment

_SMALLEST = 1e-6  # of a uniform: its logarithm must be finite


def parameters(space: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, tuple[str, list[Any]]]:
    """What a searcher draws: name to (kind, values); a simplex becomes one uniform per source, `mix~human` and so on.

    >>> parameters({"mix": {"simplex": ["human", "A"]}})["mix~A"]
    ('uniform', [1e-06, 1.0])
    """
    drawn: dict[str, tuple[str, list[Any]]] = {}
    for key, draw in space.items():
        kind, values = next(iter(draw.items()))
        if kind == "simplex":
            drawn |= {f"{key}~{name}": ("uniform", [_SMALLEST, 1.0]) for name in values}
        else:
            drawn[key] = (kind, values)
    return drawn


def to_settings(drawn: Mapping[str, Any], space: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, Any]:
    """Dotted names and values for `Experiment.replace`; a point on the simplex is one value, the whole mix.

    >>> to_settings({"mix~human": 0.5, "mix~A": 0.5}, {"mix": {"simplex": ["human", "A"]}})
    {'mix': {'human': 0.5, 'A': 0.5}}
    """
    settings: dict[str, Any] = {}
    for key, draw in space.items():
        kind, values = next(iter(draw.items()))
        if kind != "simplex":
            settings[key] = drawn[key]
            continue
        parts = {name: max(0.0, -math.log(max(_SMALLEST, drawn[f"{key}~{name}"]))) for name in values}
        total = math.fsum(parts.values())
        settings[key] = {name: part / total if total else 1 / len(parts) for name, part in parts.items()}
    return settings


def starting_point(experiment: Experiment) -> dict[str, Any]:
    """The draw that gives the experiment's own settings, tried first: a sweep is then never worse on val than it.

    A `choice` must hold the setting, else the searcher is given no starting point for it.
    """
    config = experiment.to_dict()
    point: dict[str, Any] = {}
    for key, draw in experiment.tune.space.items():
        kind, values = next(iter(draw.items()))
        if kind == "simplex":
            point |= {f"{key}~{name}": max(_SMALLEST, math.exp(-experiment.mix.get(name, 0.0))) for name in values}
            continue
        value: Any = config
        for part in key.split("."):
            value = value[part]
        is_inside = value in values if kind == "choice" else values[0] <= value <= values[1]
        if is_inside:
            point[key] = value
    return point

"""What a change of the scores consists of: a formula, its parameters, and how it is named and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.names import require_word
from conical.metrics.tiles import Matrix, as_array


@dataclass(frozen=True, kw_only=True)
class Family:
    """A change of the scores at test time.

    Args:
        name: what stands behind the dot in `raw.dsl`: lower case letters, digits and hyphens.
        rescore: maps (query, gallery) scores to new ones, with `parameters` as keywords; with a bank, the (bank,
            gallery) scores of its queries come second.
        parameters: keywords of `rescore` and their defaults.
        options: parameter to the field of `[evaluate]` that sets it; those that are not named keep their default.
        scale: the parameter that `conical score --scale` sets; "": none.
        is_scale_of_cosines: scores that reach further than cosines are probably multiplied already, worth a hint.
        needs_bank: needs queries of train: `[evaluate] qbnorm_bank` says how many, `conical score --bank` their scores.
        note: how the scores were made, in words, with places for the parameters and `bank`, in the form of
            `str.format`.
    """

    name: str
    rescore: Callable[..., NDArray[Any]] = field(repr=False)
    parameters: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    scale: str = ""
    is_scale_of_cosines: bool = False
    needs_bank: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        require_word("family", self.name)
        unknown = ({*self.options, self.scale} - {""}) - self.parameters.keys()
        require(not unknown, f"options and scale of family {self.name} must be of its parameters, got {unknown}")

    def set_by(self, options: object) -> dict[str, float]:
        """The parameters, as the fields of `[evaluate]` set them."""
        return {
            parameter: getattr(options, self.options[parameter]) if parameter in self.options else default
            for parameter, default in self.parameters.items()
        }

    def at_scale(self, scale: float | None) -> dict[str, float]:
        """The parameters with another scale; None keeps the default."""
        return dict(self.parameters) if scale is None else {**self.parameters, self.scale: scale}


def finite_scores(name: str, matrix: Matrix, *, rows: str, family: str) -> NDArray[Any]:
    """Scores as an array.

    Raises:
        ValueError: not a matrix with values, or a score is NaN or infinite.
    """
    require(
        matrix.ndim == 2 and min(matrix.shape) > 0,
        f"{name} must be ({rows}, gallery) with at least one of each, got shape {tuple(matrix.shape)}",
    )
    scores = as_array(matrix)
    is_bad_row = ~np.isfinite(scores).all(axis=1)
    require(
        not is_bad_row.any(),
        f"{name} must be finite for {family}, got NaN or infinity in row {int(np.argmax(is_bad_row))}: "
        "look at that row's embedding, or leave the family out",
    )
    return scores

"""Patterns over names, and what a user who mistyped one is told."""

from __future__ import annotations

import doctest

import pytest

from conical.core import name_patterns
from conical.core.errors import ConfigError
from conical.core.name_patterns import matching, near_names

NAMES = [f"clip.visual.transformer.resblocks.{block}.attn.in_proj_weight" for block in range(12)] + [
    "clip.visual.conv1.weight",
    "clip.positional_embedding",
]


def test_a_pattern_gives_the_names_it_fits_in_their_order() -> None:
    assert matching(NAMES, "clip.visual.transformer.resblocks.1?.*", what="freeze") == NAMES[10:12]
    assert matching(NAMES, "*", what="freeze") == NAMES


def test_upper_and_lower_case_differ() -> None:
    with pytest.raises(ConfigError):
        matching(["a.LayerNorm.weight"], "*.layernorm.weight", what="freeze")


def test_a_pattern_that_fits_none_is_refused_in_one_line_with_near_names() -> None:
    with pytest.raises(ConfigError) as caught:
        matching(NAMES, "*.attn.in_proj.weight", what="lora.targets")
    assert str(caught.value) == (
        "lora.targets '*.attn.in_proj.weight' matches none of 14 parameters: near are "
        "clip.visual.transformer.resblocks.*.attn.in_proj_weight"
    )


def test_names_that_differ_by_a_number_are_told_once() -> None:
    assert near_names("clip.visual.transformer.resblock.3.attn.in_proj_weight", NAMES)[0] == (
        "clip.visual.transformer.resblocks.*.attn.in_proj_weight"
    )


def test_where_nothing_is_near_that_is_said() -> None:
    with pytest.raises(ConfigError, match="'zzz' matches none of 14 parameters, and none is near"):
        matching(NAMES, "zzz", what="rates")


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(name_patterns).failed == 0

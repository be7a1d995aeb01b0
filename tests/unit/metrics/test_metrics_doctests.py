"""The worked examples in the docstrings."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["alignment", "families.dsl", "families.qbnorm", "hubness", "names", "ranks", "recall", "significance", "subset"],
)
def test_examples_in_the_docstrings_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"conical.metrics.{name}"))
    assert results.attempted > 0
    assert results.failed == 0

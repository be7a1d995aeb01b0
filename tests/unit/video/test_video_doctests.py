from __future__ import annotations

import doctest

from conical.video import sampling


def test_the_worked_examples_of_the_sampling_arithmetic_are_true() -> None:
    results = doctest.testmod(sampling)
    assert results.attempted >= 5
    assert results.failed == 0

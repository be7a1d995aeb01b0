"""Results are made ahead in threads, in order, a bounded number of them, and nothing is left behind."""

from __future__ import annotations

import doctest
import importlib
import threading
import time
from collections.abc import Iterator

import pytest

from conical.engine.prefetch import prefetch


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("depth", [1, 2, 4, 20])
def test_results_come_in_the_order_of_the_items_whichever_is_ready_first(depth: int) -> None:
    def later_first(item: int) -> int:
        time.sleep(0.01 * (item % 3 == 0))
        return item * item

    assert list(prefetch(later_first, range(10), depth=depth)) == [item * item for item in range(10)]
    assert _threads() == []


def test_no_items_give_no_results() -> None:
    assert list(prefetch(str, [], depth=3)) == []


def test_as_many_as_asked_for_are_made_side_by_side() -> None:
    together = threading.Barrier(3, timeout=20)  # breaks unless three calls meet

    def meet(item: int) -> int:
        together.wait()
        return item

    assert list(prefetch(meet, range(9), depth=3)) == list(range(9))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_more_than_asked_for_are_ahead_of_what_was_handed_out(depth: int) -> None:
    begun: list[int] = []
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(12):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        begun.append(item)
        return item

    for handed_out, result in enumerate(prefetch(work, items(), depth=depth), start=1):
        time.sleep(0.005)  # what may run ahead has run ahead
        assert result == handed_out - 1
        assert len(begun) <= handed_out + depth
        assert len(taken) <= handed_out + depth
    assert begun == list(range(12))


def test_an_error_is_raised_in_its_place_and_the_rest_is_dropped() -> None:
    begun: list[int] = []

    def fail_at_three(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError(f"item {item}")
        return item

    results = prefetch(fail_at_three, range(100), depth=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert max(begun) <= 5
    assert _threads() == []


def test_an_error_of_the_items_reaches_the_caller() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(prefetch(str, items(), depth=1))
    assert _threads() == []


def test_an_early_close_ends_the_threads_and_begins_nothing_more() -> None:
    begun: list[int] = []
    results = prefetch(lambda item: begun.append(item), range(100), depth=2)
    next(results)
    results.close()  # type: ignore[attr-defined]  # a generator
    assert len(begun) <= 3
    assert _threads() == []


def test_what_was_dropped_by_a_break_is_closed_too() -> None:
    for _ in prefetch(str, range(100), depth=2):
        break
    assert _threads() == []


def test_work_waits_for_the_first_request() -> None:
    begun: list[int] = []
    results = prefetch(lambda item: begun.append(item), range(3), depth=2)
    assert begun == []
    list(results)
    assert sorted(begun) == [0, 1, 2]


def test_a_result_is_let_go_when_the_caller_lets_it_go() -> None:
    living: set[int] = set()

    class Held:
        def __init__(self, item: int) -> None:
            self.item = item
            living.add(item)

        def __del__(self) -> None:
            living.discard(self.item)

    results = prefetch(Held, range(10), depth=2)
    most = 0
    for _ in range(10):
        held = next(results)
        time.sleep(0.005)
        most = max(most, len(living))
        del held
    assert most <= 3  # the one handed out and two ahead
    assert list(results) == []


def test_the_worked_example_is_true() -> None:
    results = doctest.testmod(importlib.import_module("conical.engine.prefetch"))
    assert (results.attempted, results.failed) == (1, 0)

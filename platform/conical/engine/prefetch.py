"""Results made ahead in threads and handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(work: Callable[[Item], Result], items: Iterable[Item], *, depth: int) -> Iterator[Result]:
    """Results of `work`, made while earlier ones are used.

    Beside the result that was handed out, at most `depth` are ready or in the making. Work that has begun is waited for
    when the iterator is closed or ends with an error; the rest is dropped.

    Args:
        work: called once an item, in threads; up to `depth` calls run side by side.
        items: taken in the caller's thread, one when a result is handed out.
        depth: results made ahead, >= 1.

    Returns:
        One result an item, in the order of the items, whichever is ready first.

    Raises:
        Exception: what `work` raised, where its result would have been.

    >>> list(prefetch(str.upper, "abc", depth=2))
    ['A', 'B', 'C']
    """
    assert depth >= 1, depth
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=depth, thread_name_prefix="prefetch") as pool:
        try:
            for item in items:
                if len(ahead) < depth:
                    ahead.append(pool.submit(work, item))
                    continue
                result = ahead.popleft().result()
                ahead.append(pool.submit(work, item))
                yield result
                # the caller may have let go of it, and the next one is still in the making
                del result
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

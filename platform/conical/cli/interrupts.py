"""Ctrl-C: the first ends a command in good order, a second is answered, a third ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


@contextmanager
def orderly_interrupts() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for the first Ctrl-C only.

    What follows it (a run's last record, Ray's farewell at exit) would else be cut short by the next one, with a
    traceback of whatever library was at work. After a first one the handler stays: the process is about to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread handle signals
        return
    count = 0

    def answer(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise KeyboardInterrupt
        if count == 2:
            sys.stderr.write("\nconical: ending; Ctrl-C once more ends it at once\n")
            return
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        if count == 0:
            signal.signal(signal.SIGINT, before)

"""How much memory processes take at their peak, looked up while they work."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_SECONDS_BETWEEN_LOOKS = 0.1


class PeakMemory:
    """Sum of the resident memory of a family of processes at its peak (`with`).

    Pages that several processes share are counted once a process, so this is an upper bound.

    Args:
        title: part of the command line of a descendant of this process; its own descendants are of the family too.
    """

    def __init__(self, title: str) -> None:
        self.peak_mb = 0.0
        self._title = title
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN_LOOKS):
            self.peak_mb = max(self.peak_mb, sum(map(_resident_mb, self._family())))

    def _family(self) -> set[psutil.Process]:
        import psutil

        found: set[psutil.Process] = set()
        for process in psutil.Process().children(recursive=True):
            try:
                if self._title in " ".join(process.cmdline()):
                    found |= {process, *process.children(recursive=True)}
            except psutil.NoSuchProcess:
                continue
        return found


def _resident_mb(process: psutil.Process) -> float:
    import psutil

    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0

"""Workers of a pool for the tests: one that counts, one that takes more memory than there is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from conical.on_ray.pool import Unit, UnitWorker

_BLOCK_BYTES = 128 << 20


class Counting(UnitWorker):
    """Says that a unit is done."""

    def do(self, unit: Unit) -> Mapping[str, int]:
        """One."""
        return {"ok": 1}


class Hungry(UnitWorker):
    """Takes memory, as much as its payload says in bytes, until it is ended."""

    def do(self, unit: Unit) -> Mapping[str, int]:
        """Never comes to an end where a memory monitor watches."""
        import time

        held = []
        for _ in range(int(unit.payload) // _BLOCK_BYTES):
            held.append(np.ones(_BLOCK_BYTES, np.uint8))
            time.sleep(0.1)
        time.sleep(60)
        return {"ok": 1}

"""A worker of a pool for the tests."""

from __future__ import annotations

from collections.abc import Mapping

from conical.on_ray.pool import Unit, UnitWorker


class Counting(UnitWorker):
    """Says that a unit is done."""

    def do(self, unit: Unit) -> Mapping[str, int]:
        """One."""
        return {"ok": 1}

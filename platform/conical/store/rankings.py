"""Ranks of queries on disk: what stood before and beside the best correct entry of each, so that ties stay chances."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.atomic import atomic_path
from conical.core.errors import StoreError
from conical.metrics import Ranking


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedQueries:
    """One direction's ranks, and which queries belong together.

    Args:
        groups: (query,) number of each query's video; queries of one video are resampled together.
    """

    ranking: Ranking
    groups: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.groups.shape == (len(self.ranking),), (self.groups.shape, len(self.ranking))

    def __repr__(self) -> str:
        return f"RankedQueries({self.ranking})"

    def write(self, path: Path) -> None:
        """Replace the file, whole or not at all."""
        arrays: dict[str, Any] = {"groups": self.groups, **ranking_arrays("ranking", self.ranking)}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> RankedQueries | None:
        """What `write` wrote; None if there is no file.

        Raises:
            StoreError: it is damaged.
        """
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(ranking=ranking_of("ranking", arrays), groups=arrays["groups"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise StoreError(f"ranks {path} cannot be read ({error}): delete the run's folder and run again") from error


def ranking_arrays(name: str, ranking: Ranking) -> dict[str, NDArray[Any]]:
    """The arrays of a ranking by the names they have in a file."""
    return {
        f"{name}_better": ranking.better,
        f"{name}_tied": ranking.tied,
        f"{name}_positives_tied": ranking.positives_tied,
        f"{name}_num_gallery": np.array(ranking.num_gallery),
    }


def ranking_of(name: str, arrays: Mapping[str, NDArray[Any]]) -> Ranking:
    """The ranking of `ranking_arrays`.

    Raises:
        KeyError: it is not there.
    """
    return Ranking(
        better=arrays[f"{name}_better"],
        tied=arrays[f"{name}_tied"],
        positives_tied=arrays[f"{name}_positives_tied"],
        num_gallery=int(arrays[f"{name}_num_gallery"]),
    )

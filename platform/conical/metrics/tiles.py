"""A product of embeddings in tiles of one shape, and counters of the scores in them; `blockwise` puts them together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.metrics.ranks import Matrix, Ranking

if TYPE_CHECKING:
    from torch import Tensor

_CHECKED_ROWS = 4096
# the square of a longer row is no float32, so its scores might not be either
_LONGEST = 1e19


class ProductTiles:
    """The product of two sets of embeddings, a tile at a time; rows can be put in another order first."""

    def __init__(self, rows: Matrix, columns: Matrix, *, names: tuple[str, str], tile: int) -> None:
        import torch

        require(tile >= 1, f"tile must be >= 1, got {tile}")
        self._rows, self._columns = (_as_float32(name, part) for name, part in zip(names, (rows, columns), strict=True))
        require(
            self._rows.shape[1] == self._columns.shape[1],
            f"{names[0]} and {names[1]} must have the same dim, got {self._rows.shape[1]} and {self._columns.shape[1]}",
        )
        self.num_rows, self.num_columns, self._tile = len(self._rows), len(self._columns), tile
        self.order: NDArray[np.int64] = np.arange(self.num_rows)
        self._product = torch.empty(tile, tile, dtype=torch.float32)

    def sort_rows_by(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        """Walk the rows in the order of a key from now on; returns the place of each row in that order."""
        self.order = np.argsort(key, kind="stable")
        place = np.empty_like(self.order)
        place[self.order] = np.arange(self.num_rows)
        return place

    def walk(self, wanted: Collection[tuple[int, int]] | None = None) -> Iterator[tuple[slice, slice, Tensor]]:
        """Each tile's places of rows, columns and scores; the scores are overwritten by the next tile's.

        Args:
            wanted: numbers of the tiles, down and across; None: all.
        """
        import torch

        down, across = (-(-count // self._tile) for count in (self.num_rows, self.num_columns))
        wanted_down = None if wanted is None else {row for row, _ in wanted}
        for i in range(down):
            if wanted_down is not None and i not in wanted_down:
                continue
            rows = slice(i * self._tile, min((i + 1) * self._tile, self.num_rows))
            left = self._padded(self._rows[torch.from_numpy(self.order[rows])])
            for j in range(across):
                if wanted is not None and (i, j) not in wanted:
                    continue
                columns = slice(j * self._tile, min((j + 1) * self._tile, self.num_columns))
                torch.mm(left, self._padded(self._columns[columns]).T, out=self._product)
                yield rows, columns, self._product[: rows.stop - rows.start, : columns.stop - columns.start]

    def scores_of(self, places: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of single pairs, each taken from the product of its tile."""
        across = -(-self.num_columns // self._tile)
        tile_of_pair = places // self._tile * across + columns // self._tile
        in_order = np.argsort(tile_of_pair, kind="stable")
        tiles, first = np.unique(tile_of_pair[in_order], return_index=True)
        pairs_of_tile = np.split(in_order, first[1:])
        by_tile = {divmod(int(number), across): pairs for number, pairs in zip(tiles, pairs_of_tile, strict=True)}
        scores = np.empty(len(places), dtype=np.float32)
        for down, right, product in self.walk(by_tile.keys()):
            pairs = by_tile[down.start // self._tile, right.start // self._tile]
            scores[pairs] = product.numpy()[places[pairs] - down.start, columns[pairs] - right.start]
        return scores

    def _padded(self, block: Tensor) -> Tensor:
        if len(block) == self._tile:
            return block
        filled = block.new_zeros(self._tile, block.shape[1])
        filled[: len(block)] = block
        return filled


class ScoreCounter:
    """For each entry of one axis how many scores are above, and how many at or above, the score it defends."""

    def __init__(self, best: NDArray[np.float32], *, dim: int, tile: int) -> None:
        import torch

        self._best, self._dim = torch.from_numpy(best), dim
        self._above, self._reached = (torch.zeros(len(best), dtype=torch.int64) for _ in range(2))
        self._scratch = torch.empty(tile * tile, dtype=torch.float32)

    def add(self, where: slice, scores: Tensor) -> None:
        import torch

        best = self._best[where].unsqueeze(self._dim)
        scratch = self._scratch[: scores.numel()].view(scores.shape)
        # comparing into float32 and adding that is several times faster than bool; a tile's counts are exact in it
        self._above[where] += torch.gt(scores, best, out=scratch).sum(self._dim).long()
        self._reached[where] += torch.ge(scores, best, out=scratch).sum(self._dim).long()

    def ranking(self, entries: NDArray[np.int64], own_tied: NDArray[np.int64], *, num_gallery: int) -> Ranking:
        """The ranking of the queries at these places; `own_tied` of each one's correct entries share the best score."""
        above, reached = (counts.numpy()[entries] for counts in (self._above, self._reached))
        return Ranking(better=above, tied=reached - above - own_tied, positives_tied=own_tied, num_gallery=num_gallery)


class GroupCounter:
    """Along columns as `ScoreCounter`, but of each group of rows only the best score counts.

    Rows of one group follow each other. A group that reaches into the next tile waits with its best so far.
    """

    def __init__(self, group_of_row: NDArray[np.int64], best: NDArray[np.float32], *, tile: int) -> None:
        import torch

        self.counter = ScoreCounter(best, dim=0, tile=tile)
        self._groups = torch.from_numpy(group_of_row)
        self._waiting = torch.empty(len(best), dtype=torch.float32)
        self._maxima = torch.empty(tile, tile, dtype=torch.float32)

    def add(self, rows: slice, columns: slice, scores: Tensor) -> None:
        groups = self._groups[rows]
        first, last = int(groups[0]), int(groups[-1])
        maxima = self._maxima[: last - first + 1, : scores.shape[1]].fill_(float("-inf"))
        if rows.start > 0 and int(self._groups[rows.start - 1]) == first:
            maxima[0] = self._waiting[columns]
        maxima.scatter_reduce_(0, (groups - first)[:, None].expand_as(scores), scores, "amax")
        if rows.stop < len(self._groups) and int(self._groups[rows.stop]) == last:
            self._waiting[columns] = maxima[-1]
            maxima = maxima[:-1]
        self.counter.add(columns, maxima)


def _as_float32(name: str, embeddings: Matrix) -> Tensor:
    import torch

    require(
        embeddings.ndim == 2 and min(embeddings.shape) > 0,
        f"{name} must be (row, dim) with at least one of each, got shape {tuple(embeddings.shape)}",
    )
    if isinstance(embeddings, np.ndarray):
        is_shared = embeddings.dtype == np.float32 and embeddings.flags.writeable
        with np.errstate(over="ignore"):  # what is too large is refused by its row
            tensor = torch.from_numpy(embeddings if is_shared else embeddings.astype(np.float32))
    else:
        tensor = embeddings.detach().to("cpu", torch.float32)
    _require_usable_rows(name, tensor)
    return tensor


def _require_usable_rows(name: str, tensor: Tensor) -> None:
    """Refuse by its number a row that has no direction, or whose products may be no numbers."""
    for first in range(0, len(tensor), _CHECKED_ROWS):
        norms = tensor[first : first + _CHECKED_ROWS].double().square().sum(1).sqrt().numpy()
        is_bad = ~((norms > 0) & (norms < _LONGEST))
        if is_bad.any():
            row = int(np.argmax(is_bad))
            norm = float(norms[row])
            what = "only zeros: drop the padding" if norm == 0 else f"norm {norm:.3g}: look at what was encoded there"
            raise ValueError(f"{name} must have finite rows that are not zero, got row {first + row} of {what}")

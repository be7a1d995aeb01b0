"""Scores in tiles: of a matrix that is there, or of a product of embeddings that never is. `counting` walks them.

A score of a product is one entry of the float32 product of a tile of texts and a tile of videos, whatever type the
embeddings have; the last tiles are filled up with zero rows so that every product has the same shape. A product of
another shape may round another way, so a correct pair's score is never computed by itself: it is looked up in the
product of its tile. For the same reason equal embeddings get equal scores, and tie, as long as the BLAS computes each
entry of a product of fixed shape by one order of additions. MKL's float32 product, which torch uses on x86, does so;
its float64 product does not, hence no wider type is offered for embeddings. A matrix is compared in its own type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require

if TYPE_CHECKING:
    from torch import Tensor

# 1,024 x 1,024 float32 scores are 4 MB: large enough for the product's full speed, small enough to be counted in cache
TILE = 1024
_CHECKED_ROWS = 4096
# the square of a longer row is no float32, so its scores might not be either
_LONGEST = 1e19

Matrix: TypeAlias = "NDArray[Any] | Tensor"


class Tiles(ABC):
    """A source of scores; `order` is the order in which its rows are walked, and a place is a position in it."""

    arrays: Any  # the module that its tiles are made with: numpy or torch
    shape: tuple[int, int]  # of the largest tile
    num_rows: int
    num_columns: int
    order: NDArray[np.int64]

    def sort_rows_by(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        """Walk the rows in the order of a key from now on; returns the place of each row in that order."""
        self.order = np.argsort(key, kind="stable")
        place = np.empty_like(self.order)
        place[self.order] = np.arange(self.num_rows)
        return place

    @abstractmethod
    def walk(self) -> Iterator[tuple[slice, slice, Any]]:
        """Each tile's places of rows, columns and scores; the scores may be overwritten by the next tile's."""

    @abstractmethod
    def scores_of(self, places: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[Any]:
        """Scores of single pairs, each the very entry of its tile."""

    @abstractmethod
    def maxima(self, scores: Any, groups: NDArray[np.int64]) -> Any:
        """Of a tile the highest score of each group of rows that follow each other; may be overwritten by the next."""


class MatrixTiles(Tiles):
    """The tiles of a matrix.

    Args:
        scores: (row, column), NumPy or torch; half precision is widened, a block of rows at a time.
        block_rows: rows of a tile.

    Raises:
        ValueError: a score is NaN.
    """

    arrays = np

    def __init__(self, scores: Matrix, *, block_rows: int = TILE) -> None:
        self._scores = scores
        self.num_rows, self.num_columns = int(scores.shape[0]), int(scores.shape[1])
        self.shape = (min(block_rows, self.num_rows), min(TILE, self.num_columns))
        self.order = np.arange(self.num_rows)
        for rows in self._blocks():
            is_nan_row = np.isnan(as_array(scores[rows])).any(axis=1)
            if is_nan_row.any():
                raise ValueError(
                    f"similarity must hold no NaN, got one in row {rows.start + int(np.argmax(is_nan_row))}: look for "
                    "NaN in that query's embedding or the gallery"
                )

    def walk(self) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
        is_as_stored = bool((self.order[1:] > self.order[:-1]).all())
        for rows in self._blocks():
            block = as_array(self._scores[rows if is_as_stored else self.order[rows]])
            for first in range(0, self.num_columns, self.shape[1]):
                columns = slice(first, min(first + self.shape[1], self.num_columns))
                yield rows, columns, block[:, columns]

    def scores_of(self, places: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[Any]:
        return as_array(self._scores[self.order[places], columns])

    def maxima(self, scores: NDArray[Any], groups: NDArray[np.int64]) -> NDArray[Any]:
        found: NDArray[Any] = np.maximum.reduceat(scores, np.flatnonzero(np.diff(groups, prepend=-1)), axis=0)
        return found

    def _blocks(self) -> Iterator[slice]:
        for first in range(0, self.num_rows, self.shape[0]):
            yield slice(first, min(first + self.shape[0], self.num_rows))


class ProductTiles(Tiles):
    """The tiles of the product of two sets of embeddings, all of one shape.

    Args:
        rows: (row, dim), NumPy or torch, any real type.
        columns: (column, dim).
        names: what messages call the two.
        tile: rows and columns of a tile, at least 1.

    Raises:
        ValueError: a shape is wrong, or a row is zero (padding), NaN or infinite.
    """

    def __init__(self, rows: Matrix, columns: Matrix, *, names: tuple[str, str], tile: int) -> None:
        import torch

        require(tile >= 1, f"tile must be >= 1, got {tile}")
        self._rows, self._columns = (_as_float32(name, part) for name, part in zip(names, (rows, columns), strict=True))
        require(
            self._rows.shape[1] == self._columns.shape[1],
            f"{names[0]} and {names[1]} must have the same dim, got {self._rows.shape[1]} and {self._columns.shape[1]}",
        )
        self.arrays, self.shape, self._tile = torch, (tile, tile), tile
        self.num_rows, self.num_columns = len(self._rows), len(self._columns)
        self.order = np.arange(self.num_rows)
        self._product, self._maxima = (torch.empty(tile, tile, dtype=torch.float32) for _ in range(2))

    def walk(self, wanted: Collection[tuple[int, int]] | None = None) -> Iterator[tuple[slice, slice, Tensor]]:
        """See `Tiles.walk`.

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

    def maxima(self, scores: Tensor, groups: NDArray[np.int64]) -> Tensor:
        import torch

        number = torch.from_numpy(groups - groups[0])
        maxima = self._maxima[: int(number[-1]) + 1, : scores.shape[1]].fill_(float("-inf"))
        return maxima.scatter_reduce_(0, number[:, None].expand_as(scores), scores, "amax")

    def _padded(self, block: Tensor) -> Tensor:
        if len(block) == self._tile:
            return block
        filled = block.new_zeros(self._tile, block.shape[1])
        filled[: len(block)] = block
        return filled


def as_array(matrix: Matrix) -> NDArray[Any]:
    """A NumPy array of scores, in float32 or wider: fewer digits would make ties of their own."""
    if not isinstance(matrix, np.ndarray):
        # NumPy has no bfloat16
        matrix = matrix.detach().to("cpu")
        matrix = (matrix.float() if matrix.is_floating_point() and matrix.itemsize < 4 else matrix).numpy()
    return matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False)


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

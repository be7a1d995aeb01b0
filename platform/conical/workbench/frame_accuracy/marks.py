"""Pictures that say which frame they are, which way up they stand and what shape they have.

The middle square of the shown picture is a grid of 4 x 4 cells. Its corners are white, red, green and blue (top left,
top right, bottom left, bottom right), so that each of the eight ways to turn and mirror a picture shows, and a wrong
colour matrix too. The twelve cells between are bright or dark: six binary digits of the frame's number and their
complements. Around the square everything is grey; a square of the wrong shape brings it in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conical.video.geometry import Orientation, centre_box, turn_upright

MAX_FRAMES = 64
_NUM_CELLS = 4
_NUM_DIGITS = 6
_DARK, _GREY, _BRIGHT = 40, 128, 215
_CORNERS = {(0, 0): (235, 235, 235), (0, 3): (200, 30, 30), (3, 0): (30, 180, 30), (3, 3): (30, 30, 200)}
_DIGIT_CELLS = [cell for cell in np.ndindex(_NUM_CELLS, _NUM_CELLS) if cell not in _CORNERS]
# what fine compression, chroma at half resolution and resizing move a cell's mean by is below 12 levels; a BT.601
# matrix in place of BT.709 moves the green corner by 25
_TOLERANCE = 18
_GRAIN = 14


def draw_name(index: int, *, width: int, height: int, orientation: Orientation) -> NDArray[np.uint8]:
    """The stored picture of frame `index`, which is upright and square once `orientation` is applied.

    Args:
        index: 0 to 63.
        width, height: stored size in px.
        orientation: how a player will show it.

    Returns:
        uint8 RGB, (height, width, 3).
    """
    assert 0 <= index < MAX_FRAMES, index
    stored = _as_stored(_cells(index), orientation)
    left, top, right, bottom = centre_box(width, height, sample_aspect=orientation.sample_aspect)
    column = np.floor((np.arange(width) + 0.5 - left) / (right - left) * _NUM_CELLS).astype(int)
    row = np.floor((np.arange(height) + 0.5 - top) / (bottom - top) * _NUM_CELLS).astype(int)
    is_inside = _is_cell(row)[:, None] & _is_cell(column)[None, :]
    picture = stored[row.clip(0, _NUM_CELLS - 1)[:, None], column.clip(0, _NUM_CELLS - 1)[None, :]]
    # grain of mean zero: on flat cells all roundings of colour would agree
    grain = np.random.default_rng(index).integers(-_GRAIN, _GRAIN + 1, picture.shape)
    drawn: NDArray[np.uint8] = (np.where(is_inside[..., None], picture, _GREY) + grain).clip(0, 255).astype(np.uint8)
    return drawn


def read_name(square: NDArray[np.uint8]) -> int | None:
    """The index that a shown square names; None: unreadable, or turned, mirrored, misshapen or of wrong colours.

    Args:
        square: uint8 RGB, (size, size, 3), size >= 32.

    >>> read_name(draw_name(37, width=64, height=48, orientation=Orientation())[:, 8:56])
    37
    """
    cells = _cell_means(square)
    for corner, colour in _CORNERS.items():
        if np.abs(cells[corner] - colour).max() > _TOLERANCE:
            return None
    levels = np.array([cells[cell] for cell in _DIGIT_CELLS])
    is_bright = np.abs(levels - _BRIGHT).max(axis=1) <= _TOLERANCE
    is_dark = np.abs(levels - _DARK).max(axis=1) <= _TOLERANCE
    digits, complements = is_bright[:_NUM_DIGITS], is_bright[_NUM_DIGITS:]
    if not (is_bright | is_dark).all() or (digits == complements).any():
        return None
    return int(sum(1 << place for place in np.flatnonzero(digits)))


def _cells(index: int) -> NDArray[np.uint8]:
    """The upright grid, (4, 4, 3)."""
    cells = np.zeros((_NUM_CELLS, _NUM_CELLS, 3), np.uint8)
    for corner, colour in _CORNERS.items():
        cells[corner] = colour
    digits = [index >> place & 1 for place in range(_NUM_DIGITS)]
    for cell, digit in zip(_DIGIT_CELLS, [*digits, *(1 - digit for digit in digits)], strict=True):
        cells[cell] = _BRIGHT if digit else _DARK
    return cells


def _as_stored(cells: NDArray[np.uint8], orientation: Orientation) -> NDArray[np.uint8]:
    """The one of the eight arrangements that the player's turn makes upright."""
    for num_turns in range(4):
        for step in (1, -1):
            stored = np.rot90(cells, num_turns)[:, ::step]
            if np.array_equal(turn_upright(stored, orientation), cells):
                return stored
    raise AssertionError(orientation)


def _is_cell(number: NDArray[np.int_]) -> NDArray[np.bool_]:
    return (number >= 0) & (number < _NUM_CELLS)


def _cell_means(square: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean colour of the inner half of each cell, (4, 4, 3)."""
    size = square.shape[0] // _NUM_CELLS
    inner = slice(size // 4, size - size // 4)
    return np.array(
        [
            [square[row * size :][inner, column * size :][:, inner].mean(axis=(0, 1)) for column in range(_NUM_CELLS)]
            for row in range(_NUM_CELLS)
        ]
    )

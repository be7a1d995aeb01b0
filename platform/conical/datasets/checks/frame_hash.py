"""Perceptual hashes of frames: 64 bits that stay nearly the same when a picture is encoded, scaled or lit otherwise.

Shapes: F frames, H x W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THUMBNAIL_PX = 24
_HASH_SIDE = 8
# Standard deviation of a thumbnail, in grey levels, below which a frame says nothing of its video: black, white and
# faded frames, plain backgrounds. Of 1,000 frames of MSR-VTT two are below.
MIN_CONTRAST = 8.0
# Correlation from which two frames of one video are one still picture, such as a title card: it counts once.
STILL_CORRELATION = 0.98
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# (8, 24): frequencies 1 to 8 of the DCT-II
_COSINES = np.cos(
    np.pi * np.arange(1, _HASH_SIDE + 1)[:, None] * (2 * np.arange(THUMBNAIL_PX) + 1) / (2 * THUMBNAIL_PX)
).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSignatures:
    """What is kept of the frames of one video to find them again.

    Args:
        hashes: uint64, (F,).
        thumbnails: uint8, (F, 24, 24, 3), RGB.
        pictures: int64, (F,): frames of one number are one still picture, numbered from 0; -1: the frame is flat.
    """

    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    pictures: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.hashes)
        assert self.thumbnails.shape == (count, THUMBNAIL_PX, THUMBNAIL_PX, 3), self.thumbnails.shape
        assert self.pictures.shape == (count,), self.pictures.shape

    def __repr__(self) -> str:
        return f"FrameSignatures(frames={len(self.hashes)}, pictures={self.num_pictures})"

    @property
    def num_pictures(self) -> int:
        """Different pictures among the frames that are not flat."""
        return int(self.pictures.max(initial=-1)) + 1

    @property
    def first_frames(self) -> NDArray[np.int64]:
        """The first frame of each picture."""
        numbers, first = np.unique(self.pictures, return_index=True)
        return first[numbers >= 0].astype(np.int64)


def frame_signatures(frames: NDArray[np.uint8]) -> FrameSignatures:
    """Hashes and thumbnails of the frames of a video.

    Args:
        frames: uint8, (F, H, W, 3), RGB.

    Returns:
        One hash and one thumbnail a frame.
    """
    thumbnails = _shrink(frames)
    return FrameSignatures(
        hashes=perceptual_hashes(thumbnails),
        thumbnails=thumbnails.round().astype(np.uint8),
        pictures=_number_pictures(thumbnails),
    )


def unit_thumbnails(thumbnails: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Thumbnails as rows of length one, each colour of mean zero, so that the product of two rows is their correlation.

    Neither brightness, contrast nor tint enters.

    Args:
        thumbnails: (F, 24, 24, 3), RGB.

    Returns:
        (F, 24 * 24 * 3).
    """
    centred = thumbnails.astype(np.float32)
    centred -= centred.mean(axis=(1, 2), keepdims=True)
    rows = centred.reshape(len(centred), math.prod(centred.shape[1:]))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows


def perceptual_hashes(thumbnails: NDArray[np.float32]) -> NDArray[np.uint64]:
    """64 bits a picture: which of its low spatial frequencies are above their median.

    Neither the mean nor the scale of the grey levels enters, so a picture that is brighter or of more contrast keeps
    its hash.

    Args:
        thumbnails: (F, 24, 24, 3), RGB.

    Returns:
        uint64, (F,).

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions (2010), section 3.2.1: the
        8 x 8 lowest frequencies of the DCT without the first row and column, each compared with their median. There
        the picture has 32 x 32 pixels; 24 x 24 hold these frequencies as well.

    >>> noise = np.random.default_rng(0).uniform(0, 255, (1, 24, 24, 3)).astype(np.float32)
    >>> int(np.bitwise_count(perceptual_hashes(noise) ^ perceptual_hashes(0.5 * noise + 40))[0])
    0
    """
    spectrum = (_COSINES @ (thumbnails @ _LUMA) @ _COSINES.T).reshape(len(thumbnails), -1)
    bits = spectrum > np.median(spectrum, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def _number_pictures(thumbnails: NDArray[np.float32]) -> NDArray[np.int64]:
    rows = unit_thumbnails(thumbnails)
    has_content = (thumbnails @ _LUMA).std(axis=(1, 2)) >= MIN_CONTRAST
    numbers = np.full(len(rows), -1, np.int64)
    first: list[int] = []  # frame that opened each picture
    for frame in np.flatnonzero(has_content):
        likeness = rows[first] @ rows[frame]
        if len(first) and likeness.max() >= STILL_CORRELATION:
            numbers[frame] = likeness.argmax()
        else:
            numbers[frame] = len(first)
            first.append(int(frame))
    return numbers


def _shrink(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Frames (F, H, W, 3) as thumbnails (F, 24, 24, 3), 0 to 255; each pixel is the mean of the area that it covers."""
    rows, columns = (_area_weights(length) for length in frames.shape[1:3])
    # frame by frame: the pixels are never held in float32 all at once
    small = [np.einsum("rh,hwc->rwc", rows, frame.astype(np.float32), optimize=True) for frame in frames]
    thumbnails: NDArray[np.float32] = np.einsum("sw,frwc->frsc", columns, np.stack(small), optimize=True)
    return thumbnails


def _area_weights(length: int) -> NDArray[np.float32]:
    """(24, length): the share of each of `length` pixels in each of 24; rows add up to one."""
    edges = np.linspace(0, length, THUMBNAIL_PX + 1)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float32] = (np.clip(covered, 0, None) * THUMBNAIL_PX / length).astype(np.float32)
    return weights

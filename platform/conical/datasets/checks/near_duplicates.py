"""Videos of different splits that show nearly the same.

    1. hash      every frame to 64 bits; flat frames are left out, of a still picture one frame is kept
    2. compare   all pairs of frames of different splits, blockwise; a few differing bits make a candidate
    3. check     the candidates' pixels: correlation of small colour pictures
    4. count     different pictures in which two videos agree

Found: the same video encoded again, scaled, brighter or darker, cropped by up to about 3 % a side, mirrored, or sampled
at other moments of the same scenes. Not found: stronger crops, borders, picture in picture, rotation, large logos or
subtitles, and copies of which the sampled frames share less than `MIN_SHARE` of their pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.core.findings import HELD_OUT_FIRST, Finding
from conical.core.records import SPLITS
from conical.datasets.checks.frame_hash import FrameSignatures, perceptual_hashes, unit_thumbnails

# Of 64 bits. Measured on 1,000 frames of 500 videos of MSR-VTT: copies (JPEG of quality 20, half the size, brighter)
# differ in up to 6, cropped by 3 % a side in up to 16; of 498,936 pairs of different sources 53 differ in 16 or fewer,
# none in 12.
MAX_DISTANCE = 16
# Of the same pairs 3 correlate that much, none of which has a small distance too; cropped copies do in 74 % of cases.
MIN_CORRELATION = 0.9
# A title card in common is not a copy. With these, copies of 10 real clips were all found when cropped by 3 % a side,
# mirrored, or sampled from their second half; cropped by 5 % 4 were, by 8 % none. No pair of the 140,000 of generated
# scenes was.
MIN_SHARE = 0.3
MIN_PICTURES = 2

_VIDEOS, _COLUMNS = 12, 8192  # compared at a time, videos with frames: about 8 MB of differences
_CHECKED = 8192  # candidates whose pixels are compared at a time: 64 MB


@dataclass(frozen=True, kw_only=True)
class SignedVideo:
    """A video and the signatures of its frames."""

    video_id: str
    split: str
    signatures: FrameSignatures


@dataclass(frozen=True, eq=False)
class _Frames:
    """One frame of each picture of many videos, end to end.

    Further frames of a still picture would count nothing, and cost its square where videos share a title card.
    """

    videos: Sequence[SignedVideo]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    owners: NDArray[np.int64]  # position of the video
    pictures: NDArray[np.int64]

    @classmethod
    def of(cls, videos: Sequence[SignedVideo]) -> _Frames:
        kept = [video.signatures.first_frames for video in videos]

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(v.signatures, name)[one] for v, one in zip(videos, kept, strict=True)])

        owners = np.repeat(np.arange(len(videos)), [len(frames) for frames in kept])
        return cls(videos, joined("hashes"), joined("thumbnails"), owners, joined("pictures"))

    def blocks(self) -> Iterator[_Frames]:
        """A few videos at a time, each with all of its frames."""
        for first in range(0, len(self.videos), _VIDEOS):
            start, stop = np.searchsorted(self.owners, (first, first + _VIDEOS))
            yield _Frames(self.videos, *(array[start:stop] for array in self._arrays))

    @property
    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.hashes, self.thumbnails, self.owners, self.pictures

    def mirrored(self) -> _Frames:
        thumbnails = np.ascontiguousarray(self.thumbnails[:, :, ::-1])
        chunks = np.array_split(thumbnails, len(thumbnails) // _CHECKED + 1)  # in float32 all at once are too many
        hashes = np.concatenate([perceptual_hashes(chunk.astype(np.float32)) for chunk in chunks])
        return _Frames(self.videos, hashes, thumbnails, self.owners, self.pictures)


def find_near_duplicates(
    videos: Sequence[SignedVideo], *, report: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """Pairs of videos of different splits that are nearly the same.

    All pairs of frames are compared, exactly; memory holds one thumbnail of 1.7 kB a frame beside blocks of fixed size.

    Args:
        report: told how many of how many pairs of frames were compared.

    Returns:
        One finding a pair; `a` in the split that is held out further; `value` the median correlation of the frames
        in which they agree. By split, id of a, id of b.
    """
    best: dict[tuple[str, str], Finding] = {}
    sides = _sides(videos)
    total, done = sum(2 * _count(held_out) * _count(others) for held_out, others in sides), 0
    for held_out, others, note in _both_ways(sides):
        for block in held_out.blocks():
            for finding in _agreements(block, others, note=note):
                # a symmetric picture may agree both ways: the better one stays
                pair = (finding.video_a, finding.video_b)
                best[pair] = max(best.get(pair, finding), finding, key=lambda one: one.value)
            done += len(block.hashes) * len(others.hashes)
            if report is not None:
                report(done, total)
    return sorted(best.values(), key=lambda one: (HELD_OUT_FIRST.index(one.split_a), one.video_a, one.video_b))


def _sides(videos: Sequence[SignedVideo]) -> list[tuple[list[SignedVideo], list[SignedVideo]]]:
    """What is compared with what: each split with those that are held out less."""
    by_split = {split: sorted((v for v in videos if v.split == split), key=lambda v: v.video_id) for split in SPLITS}
    sides = []
    for place, split in enumerate(HELD_OUT_FIRST):
        others = [video for other in HELD_OUT_FIRST[place + 1 :] for video in by_split[other]]
        if _count(by_split[split]) and _count(others):
            sides.append((by_split[split], others))
    return sides


def _count(videos: Sequence[SignedVideo]) -> int:
    return sum(video.signatures.num_pictures for video in videos)


def _both_ways(sides: list[tuple[list[SignedVideo], list[SignedVideo]]]) -> Iterator[tuple[_Frames, _Frames, str]]:
    """Frames of both sides, the second as they are and mirrored; one pair at a time is in memory."""
    for held_out, others in sides:
        first, second = _Frames.of(held_out), _Frames.of(others)
        yield first, second, ""
        yield first, second.mirrored(), ", mirrored"


def _agreements(block: _Frames, others: _Frames, *, note: str) -> Iterator[Finding]:
    """Gather the pairs of frames that agree by pair of videos, and count."""
    rows, columns, likeness = _agreeing_frames(block, others)
    pair = block.owners[rows] * len(others.videos) + others.owners[columns]
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    for chosen in np.split(order, starts[1:]) if len(order) else ():
        a, b = block.videos[block.owners[rows[chosen[0]]]], others.videos[others.owners[columns[chosen[0]]]]
        counts = a.signatures.num_pictures, b.signatures.num_pictures
        # one picture against many of the other video is one agreement
        pictures = block.pictures[rows[chosen]], others.pictures[columns[chosen]]
        agreeing = min(len(np.unique(numbers)) for numbers in pictures)
        if agreeing >= _wanted(*counts):
            yield Finding(
                kind="near-duplicate",
                split_a=a.split,
                video_a=a.video_id,
                split_b=b.split,
                video_b=b.video_id,
                detail=f"{agreeing} of {min(counts)} pictures agree{note}",
                value=round(float(np.median(likeness[chosen])), 4),
            )


def _agreeing_frames(
    block: _Frames, others: _Frames
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pairs of frames, as row numbers of both, that are near by hash and alike by pixels, and how much alike."""
    agreeing = []
    for start in range(0, len(others.hashes), _COLUMNS):
        differing = np.bitwise_count(block.hashes[:, None] ^ others.hashes[None, start : start + _COLUMNS])
        near = np.argwhere(differing <= MAX_DISTANCE)
        near[:, 1] += start
        for pairs in np.array_split(near, len(near) // _CHECKED + 1):
            rows, columns = pairs.T
            first, second = unit_thumbnails(block.thumbnails[rows]), unit_thumbnails(others.thumbnails[columns])
            likeness = np.einsum("ij,ij->i", first, second)
            alike = likeness >= MIN_CORRELATION
            agreeing.append((rows[alike], columns[alike], likeness[alike]))
    rows, columns, likeness = (np.concatenate(parts) for parts in zip(*agreeing, strict=True))
    return rows, columns, likeness


def _wanted(pictures_a: int, pictures_b: int) -> int:
    """Pictures in which two videos must agree.

    >>> _wanted(10, 10), _wanted(10, 4), _wanted(10, 1), _wanted(1, 1)
    (3, 2, 2, 1)
    """
    if pictures_a == pictures_b == 1:  # two still pictures
        return 1
    return max(MIN_PICTURES, math.ceil(MIN_SHARE * min(pictures_a, pictures_b)))

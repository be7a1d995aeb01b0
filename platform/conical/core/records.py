"""Plain records that pass between layers. Layers that are siblings meet here, never in each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")

# Why a video is quarantined. One word each, so that a summary by kind is short.
FAILURE_KINDS = (
    "missing",  # no file at the address
    "empty",  # zero bytes
    "not_a_video",  # no container format recognises it
    "no_video_stream",  # for example audio only
    "truncated",  # the stream ends before its index says
    "corrupt",  # the decoder refuses packets
    "too_slow",  # the deadline passed
    "crashed",  # the decoding process died
    "refused",  # no backend is exact on this kind of file
)

_SAFE_ID = re.compile(r"[^\x00-\x1f/\\]+")


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One row of a manifest: a clip and what people wrote about it.

    Args:
        video_id: unique in the dataset; no control characters, slashes or backslashes.
        uri: path of the file, a folder of images, or a member of a tar file (`shard.tar/key.mp4`), relative to the
            dataset root, or absolute; "": no file was found when the dataset was imported.
        split: one of `SPLITS`.
        captions: the human captions, untouched.
        start_seconds: where the clip starts in the file.
        end_seconds: where it ends (exclusive); None: at the end of the file.
        source_id: what the clip was cut from (for example a YouTube id); "" if unknown.
        extra: anything else the dataset says, as JSON values.

    Raises:
        ValueError: a field is out of range.
    """

    video_id: str
    uri: str
    split: str
    captions: tuple[str, ...] = ()
    start_seconds: float = 0.0
    end_seconds: float | None = None
    source_id: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SAFE_ID.fullmatch(self.video_id) or self.video_id in (".", ".."):
            raise ValueError(
                f"video_id must be a plain name without slashes or control characters, got {self.video_id!r}"
            )
        if self.split not in SPLITS:
            raise ValueError(f"split of {self.video_id} must be one of {', '.join(SPLITS)}; got {self.split!r}")
        if self.start_seconds < 0 or (self.end_seconds is not None and self.end_seconds <= self.start_seconds):
            raise ValueError(
                f"{self.video_id} must have 0 <= start_seconds < end_seconds, "
                f"got {self.start_seconds} and {self.end_seconds}"
            )


@dataclass(frozen=True, kw_only=True)
class SplitCount:
    """Videos of a split: how many there should be, and how many have a file.

    Args:
        expected: by the annotations and published lists.
        found: of these, with annotations and a file.
    """

    expected: int
    found: int

    def __post_init__(self) -> None:
        assert 0 <= self.found <= self.expected, (self.found, self.expected)


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """What an import found, beside the records themselves.

    Args:
        name: registry name of the dataset.
        variant: which of its published splits into lists; "" where there is one only.
        splits: counts of videos; only splits of which something is expected.
        num_blank_captions: captions of nothing but white space, left out.
        num_duplicate_captions: captions that repeat an earlier one of the same video, kept.
        lists: published list to the content address of its ids.
        missing: ids of videos without a file, sorted.
        altered: split to the number of its videos whose captions are not the published ones; only where there are any.
        notes: sentences for the user.
    """

    name: str
    variant: str
    splits: dict[str, SplitCount]
    num_captions: int
    num_blank_captions: int
    num_duplicate_captions: int
    lists: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = field(default=(), repr=False)
    altered: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Whether a video that should be there is not; every number computed on such a dataset says so."""
        return any(count.found < count.expected for count in self.splits.values())


@dataclass(frozen=True, kw_only=True)
class SampledFrames:
    """Exact frames of one clip.

    Args:
        frames: uint8, (num_frames, height, width, 3), RGB.
        frame_indices: index of each frame in presentation order, from 0 at the file's first frame.
        pts_seconds: presentation time of each frame.
        decoder: name of the backend that read them.
        is_padded: fewer frames existed than were asked for; the last one is repeated.
    """

    frames: NDArray[np.uint8]
    frame_indices: tuple[int, ...]
    pts_seconds: tuple[float, ...]
    decoder: str
    is_padded: bool = False

    def __post_init__(self) -> None:
        count = len(self.frame_indices)
        assert self.frames.dtype == np.uint8, self.frames.dtype
        assert self.frames.ndim == 4, self.frames.shape
        assert self.frames.shape[3] == 3, self.frames.shape
        assert self.frames.shape[0] == count == len(self.pts_seconds), (self.frames.shape, count)

    def __repr__(self) -> str:
        return f"SampledFrames(frames={self.frames.shape}, indices={self.frame_indices}, decoder={self.decoder!r})"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A bad input: counted, named and set aside.

    Args:
        uri: where it was looked for.
        stage: such as `ingest`.
        kind: one of `FAILURE_KINDS`.
        message: one line for a person.
    """

    video_id: str
    uri: str
    stage: str
    kind: str
    message: str

    def __post_init__(self) -> None:
        assert self.kind in FAILURE_KINDS, self.kind


@dataclass(frozen=True, kw_only=True)
class CaptionRecord:
    """One supplement in the ledger. Rows are found by `key`, never by position.

    Args:
        key: content address of everything that determines the text.
        prompt_id: `A`, `B`, `C` or a user's own.
        prompt_hash: hash of the prompt's text and version.
        sample: 0-based number of the sample for this prompt.
        text: the supplement, never empty.
        model: name or path of the model.
        revision: revision or content hash of the weights.
        frame_recipe: hash of the frame recipe it watched.
        generation: JSON of the generation settings.
        truncated: generation stopped at the limit, not at the end of the text.
        seconds: wall time of the batch divided by its rows.
    """

    key: str
    video_id: str
    prompt_id: str
    prompt_hash: str
    sample: int
    text: str
    captioner: str
    model: str
    revision: str
    frame_recipe: str
    generation: str
    tokens_out: int
    truncated: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FailedCaption:
    """A supplement that was asked for and not written.

    Args:
        key: as `CaptionRecord.key`.
        prompt_id: `A`, `B`, `C` or a user's own.
        sample: 0-based number of the sample for this prompt.
        reason: one printable line; what stands before the first ": " is the kind that a summary counts.
    """

    key: str
    video_id: str
    prompt_id: str
    sample: int
    reason: str

    @property
    def kind(self) -> str:
        """What failures are counted by."""
        return self.reason.partition(": ")[0]


@dataclass(frozen=True, kw_only=True)
class SupplementCount:
    """Supplements of one prompt that a split was to have, and those that were written.

    Args:
        asked: one per clip with frames and sample.
        written: of these, in the ledger.
    """

    prompt_id: str
    asked: int
    written: int

    def __post_init__(self) -> None:
        assert 0 <= self.written <= self.asked, (self.written, self.asked)

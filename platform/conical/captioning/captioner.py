"""What a captioner is: the protocol all of them follow and the plain things they take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from conical.captioning.options import CaptionOptions


@dataclass(frozen=True, kw_only=True)
class CaptionerCard:
    """Which captioner writes, known before its weights are loaded, so that keys can be computed anywhere.

    Args:
        name: name in `CAPTIONERS`, or the import path it was given by.
        model: folder or hub id of the model.
        revision: commit of the hub, or the hash of a local folder's files.
        num_frames: frames a clip that it watches; 0: it watches none.
        size_px: side of the square frames it wants; 0: any.
        is_row_by_row: each row is answered by itself, so that only missing ones are asked for. A model that runs a
            batch at once is given the whole batch again, since the rounding of a row depends on its neighbours.
    """

    name: str
    model: str
    revision: str
    num_frames: int
    size_px: int
    is_row_by_row: bool = False

    @property
    def frame_recipe_request(self) -> tuple[int, int]:
        """`(num_frames, size_px)` to ingest for this captioner; zeros stand for "any"."""
        return self.num_frames, self.size_px


@dataclass(frozen=True, kw_only=True)
class CaptionText:
    """One answer of a captioner; `conical.captioning.answers` checks it before the ledger takes it.

    Args:
        text: the supplement; "" when `error` is set.
        tokens_out: generated tokens, the end-of-text token not counted.
        truncated: generation stopped at the limit, not at the end of the text.
        error: one line, when this row (not the whole call) went wrong; summaries count by what stands before ": ".
    """

    text: str
    tokens_out: int
    truncated: bool
    error: str = ""


class Captioner(Protocol):
    """Writes one text per row. `CAPTIONERS` holds the house's own; a class of the same form plugs in by import path.

    Args:
        options: which captioner and how it generates.
        card: its card when already known, which saves hashing the weights again; None: it is described here.
    """

    card: CaptionerCard

    def __init__(self, options: CaptionOptions, card: CaptionerCard | None = None) -> None: ...

    @classmethod
    def describe(cls, options: CaptionOptions) -> CaptionerCard:
        """The card of the captioner that the options ask for; cheap, without loading weights."""
        ...

    def caption(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[str], *, seeds: Sequence[int]
    ) -> list[CaptionText]:
        """Caption one batch; row i of the answer belongs to row i of each argument.

        Args:
            frames: one uint8 array (num_frames, height, width, 3) a row. Calls that pass the very same arrays in the
                same order may share the work done on them.
            prompts: the rendered prompt of each row.
            seeds: the random seed of each row, so that a sampled text does not depend on its neighbours.

        Returns:
            One answer a row, in order.
        """
        ...


def check_frames(frames: Sequence[NDArray[np.uint8]], card: CaptionerCard) -> None:
    """Refuse clips that the captioner cannot watch.

    Raises:
        ValueError: not uint8 (num_frames, height, width, 3), or not the number of frames it wants.
    """
    for clip in frames:
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3:
            raise ValueError(
                f"frames must be uint8 (num_frames, height, width, 3), got {clip.dtype} {clip.shape}: "
                "pass the frames of the frame store"
            )
        if card.num_frames and clip.shape[0] != card.num_frames:
            raise ValueError(
                f"captioner {card.name} watches exactly {card.num_frames} frames per clip, got {clip.shape[0]}: "
                f"ingest with num_frames = {card.num_frames} for it"
            )

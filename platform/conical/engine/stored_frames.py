"""Which of a clip's stored frames a run looks at: `[augment] num_frames`."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import ConfigError
from conical.store.feature_files import ShardedArray
from conical.store.frames.decoded import DecodedFrames
from conical.video import segment_centre

# what clips are taken from, (video, frame, ...): pixels, or what a frozen image tower gives of them
Frames: TypeAlias = NDArray[Any] | ShardedArray | DecodedFrames


class ChosenFrames:
    """The same few frames of every clip, read only when a clip is asked for; indexed like the array it stands for.

    Args:
        frames: (video, frame, ...): usually pixels that do not fit in memory, mapped or decoded when asked for.
        positions: which frames of each clip.
    """

    def __init__(self, frames: Frames, positions: tuple[int, ...]) -> None:
        self._frames = frames
        self.positions = positions

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self._frames), len(self.positions), *self._frames.shape[2:]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, videos: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        rows = np.arange(len(self._frames))[videos]
        chosen: NDArray[Any] = self._frames[rows[..., None], np.array(self.positions)]
        return chosen

    def __repr__(self) -> str:
        return f"ChosenFrames(shape={self.shape}, positions={self.positions})"


def scored_frames(frames: Frames, num_frames: int) -> Frames | ChosenFrames:
    """Frames as evaluation sees them: as many a clip as training takes, the centres of its segments.

    Args:
        frames: (video, frame, ...).
        num_frames: of each clip; 0: all.

    Raises:
        ConfigError: fewer are stored.
    """
    if num_frames == 0:
        return frames
    require_stored(num_frames, num_stored=frames.shape[1])
    return ChosenFrames(frames, segment_centre(frames.shape[1], num_frames))


def require_stored(num_frames: int, *, num_stored: int) -> None:
    """Refuse to take more frames than there are.

    Raises:
        ConfigError: fewer are stored.
    """
    if num_frames > num_stored:
        raise ConfigError(
            f"augment.num_frames must be at most the {num_stored} stored frames per clip, got {num_frames}: "
            "lower it or raise frames.num_frames"
        )

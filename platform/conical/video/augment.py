"""The random choices over a clip's frames: which are taken, and how `a_i`, the clip's copy, is transformed.

One transformation a clip, the same for all of its frames: [CEO25] names rotation and flip and gives no ranges, so both
are options.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conical.core.options import Options, require
from conical.core.seeds import generator
from conical.video.sampling import random_segment


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(Options):
    """The `[augment]` table.

    Args:
        rotation_degrees: angles are drawn uniformly from [-rotation_degrees, rotation_degrees], in [0, 180].
        flip_probability: chance of a horizontal flip, in [0, 1].
        num_views: transformed copies of each clip that are drawn from, >= 1; 0: a new one for each row. With few, a
            frozen image tower embeds them once.
        num_frames: frames of a clip that a training step takes, one at random of each segment of the stored ones;
            scoring takes the centres of the segments. 0: all that are stored (`frames.num_frames`).
        num_scored_frames: frames of a clip that scoring takes, where they are to be others than training takes, >= 1;
            0: as many as training takes.
    """

    rotation_degrees: float = 15.0
    flip_probability: float = 0.5
    num_views: int = 0
    num_frames: int = 0
    num_scored_frames: int = 0

    def __post_init__(self) -> None:
        require(
            0.0 <= self.rotation_degrees <= 180.0,
            f"rotation_degrees must be in [0, 180], got {self.rotation_degrees}",
        )
        require(0.0 <= self.flip_probability <= 1.0, f"flip_probability must be in [0, 1], got {self.flip_probability}")
        require(self.num_views >= 0, f"num_views must be >= 0, got {self.num_views}")
        require(self.num_frames >= 0, f"num_frames must be >= 0, got {self.num_frames}")
        require(self.num_scored_frames >= 0, f"num_scored_frames must be >= 0, got {self.num_scored_frames}")

    def draw(self, rng: np.random.Generator) -> tuple[float, bool]:
        """An angle in degrees and whether to flip."""
        return (
            float(rng.uniform(-self.rotation_degrees, self.rotation_degrees)),
            bool(rng.random() < self.flip_probability),
        )

    def view(self, video: int, number: int) -> tuple[float, bool]:
        """The angle and flip of one of a clip's `num_views` copies, the same in every run.

        Args:
            video: number of the clip in its split.
            number: of the copy, below `num_views`.
        """
        return self.draw(generator(0, "view", video, number))

    def draw_positions(self, rng: np.random.Generator, *, num_stored: int) -> tuple[int, ...]:
        """Which of a clip's stored frames a training step takes; draws nothing if it takes all.

        Args:
            num_stored: stored frames, >= `num_frames`.
        """
        if self.num_frames == 0:
            return tuple(range(num_stored))
        return random_segment(rng, num_stored, self.num_frames)

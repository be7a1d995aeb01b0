"""A training set small enough to train on in a second."""

from __future__ import annotations

import numpy as np

from conical.captioning.mix import PromptMix
from conical.engine.batches import BatchPlan, TrainingSet
from conical.video.augment import AugmentOptions

WORDS = ("red", "green", "blue", "white", "black", "large", "small", "round")


def training_set(num_videos: int = 8, side: int = 32) -> TrainingSet:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (num_videos, 2, side, side, 3), dtype=np.uint8)
    texts = [
        {
            "human": ((f"a {WORDS[k % 8]} thing",), (f"something {WORDS[k % 8]}",)),
            "B": ((f"one {WORDS[k % 8]} thing", "it moves"),),
        }
        for k in range(num_videos)
    ]
    return TrainingSet(frames=frames, texts=texts)


def batch_plan(**changes: object) -> BatchPlan:
    settings = {
        "data": training_set(),
        "mix": PromptMix({"human": 0.5, "B": 0.5}),
        "augment": AugmentOptions(),
        "batch_size": 4,
        "seed": 3,
    }
    return BatchPlan(**{**settings, **changes})

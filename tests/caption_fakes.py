"""Captioners for tests, given to workers by import path."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conical.captioning import CaptionerCard, CaptionOptions, CaptionText
from conical.core.errors import ClusterError, ConfigError

# Folder through which a test and the workers speak: `pids/` holds a file per actor, `slow` makes batches take a while.
FOLDER_VARIABLE = "CONICAL_TEST_FAKES"
POISON_LEVEL = 99
NUM_FRAMES = 2


class GreyCaptioner:
    """Says the grey level of its clip, and a hash of the whole batch: a batch of other neighbours gives other texts."""

    def __init__(self, options: CaptionOptions, card: CaptionerCard | None = None) -> None:
        self.card = card or self.describe(options)
        self._folder = Path(os.environ[FOLDER_VARIABLE])
        (self._folder / "pids" / str(os.getpid())).touch()

    @classmethod
    def describe(cls, options: CaptionOptions) -> CaptionerCard:
        return CaptionerCard(name=options.captioner, model="grey", revision="1", num_frames=NUM_FRAMES, size_px=8)

    def caption(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[str], *, seeds: Sequence[int]
    ) -> list[CaptionText]:
        if (self._folder / "slow").exists():
            time.sleep(0.4)
        levels = [int(clip[0, 0, 0, 0]) for clip in frames]
        if POISON_LEVEL in levels:
            raise RuntimeError(f"cannot look at level {POISON_LEVEL}")
        neighbours = hashlib.sha256(repr((levels, prompts)).encode()).hexdigest()[:8]
        return [
            CaptionText(
                text=f"level {level} asked {prompt!r} among {neighbours}", tokens_out=level, truncated=level == 3
            )
            for level, prompt in zip(levels, prompts, strict=True)
        ]


class AwayCaptioner(GreyCaptioner):
    """Its server is away."""

    def caption(self, *_: object, **__: object) -> list[CaptionText]:
        raise ClusterError("the caption server is away: start it")


class UnloadableCaptioner(GreyCaptioner):
    """Its weights cannot be loaded."""

    def __init__(self, options: CaptionOptions, card: CaptionerCard | None = None) -> None:
        raise ConfigError("captions.model 'grey' cannot be loaded: mend it")


class DyingCaptioner(GreyCaptioner):
    """Takes its process down with it, each time."""

    def caption(self, *_: object, **__: object) -> list[CaptionText]:
        (self._folder / "deaths" / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

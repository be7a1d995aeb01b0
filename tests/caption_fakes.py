"""Captioners for tests, given to workers by import path."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.captioning import CaptionerCard, CaptionOptions, CaptionText
from conical.core.errors import ClusterError, ConfigError
from conical.core.records import SampledFrames, VideoRecord
from conical.store import FrameRow, FrameStore

# Folder through which a test and the workers speak: `pids/` holds a file per actor, `slow` makes batches take a while.
FOLDER_VARIABLE = "CONICAL_TEST_FAKES"
POISON_LEVEL = 99
NUM_FRAMES = 2
NUM_VIDEOS = 10


def records(count: int = NUM_VIDEOS) -> list[VideoRecord]:
    return [
        VideoRecord(video_id=f"v{number:02}", uri=f"{number}.mp4", split="train", captions=(f"caption of {number}",))
        for number in range(count)
    ]


def frame_store(path: Path, *, levels: dict[str, int] | None = None) -> FrameStore:
    """Clips of one grey level each, by default their number."""
    levels = levels or {record.video_id: number for number, record in enumerate(records())}
    recipe = {"num_frames": NUM_FRAMES, "size": 8, "codec": "raw", "jpeg_quality": 95}
    store = FrameStore(path / "frames", recipe=recipe, recipe_hash="recipe")
    rows = [
        FrameRow(
            video_id=video_id,
            fingerprint=f"file of {video_id}",
            sampled=SampledFrames(
                frames=np.full((NUM_FRAMES, 8, 8, 3), level, np.uint8),
                frame_indices=(0, 1),
                pts_seconds=(0.0, 0.1),
                decoder="none",
            ),
        )
        for video_id, level in levels.items()
    ]
    store.write_part("all", rows)
    return store


def options(name: str = "GreyCaptioner", **changes: Any) -> CaptionOptions:
    return CaptionOptions(captioner=f"caption_fakes:{name}", **({"batch_size": 3} | changes))


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


class MoodyCaptioner(GreyCaptioner):
    """Refuses the clips that the file `mood` names, and notes the levels of each batch in `asked`."""

    def caption(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[str], *, seeds: Sequence[int]
    ) -> list[CaptionText]:
        refused = (self._folder / "mood").read_text().split()
        levels = [int(clip[0, 0, 0, 0]) for clip in frames]
        with (self._folder / "asked").open("a") as file:
            file.write(",".join(map(str, levels)) + "\n")
        texts = [f"level {level}" if f"v{level:02}" not in refused else "I cannot help with that." for level in levels]
        return [CaptionText(text=text, tokens_out=1, truncated=False) for text in texts]


class MoodySingleCaptioner(MoodyCaptioner):
    """The same, each row by itself."""

    @classmethod
    def describe(cls, options: CaptionOptions) -> CaptionerCard:
        return replace(super().describe(options), is_row_by_row=True)


class OddCaptioner(GreyCaptioner):
    """Gives another odd answer for each level."""

    def caption(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[str], *, seeds: Sequence[int]
    ) -> list[CaptionText]:
        return [self._answer(int(clip[0, 0, 0, 0])) for clip in frames]

    def _answer(self, level: int) -> Any:
        if level == 6:
            raise MemoryError("too\x00large")
        texts = {
            0: "a fine text",
            1: [{"text": "parts "}, {"text": "of a text"}],
            2: "half \ud800",
            3: "nul\x00",
            4: None,
        }
        odd = {
            5: "a bare text",
            7: None,
            8: CaptionText(text="", tokens_out=0, truncated=False, error="out of tokens \ud800"),
        }
        texts |= {9: "<think>hm"}
        return CaptionText(text=texts[level], tokens_out=1, truncated=False) if level in texts else odd[level]


class NoAnswersCaptioner(GreyCaptioner):
    """Gives nothing at all."""

    def caption(self, *_: object, **__: object) -> Any:
        return None


class FewAnswersCaptioner(GreyCaptioner):
    """Yields nothing for every row."""

    def caption(self, *_: object, **__: object) -> Any:
        yield from ()

"""Both tiny models from nothing, and their figures on video files nobody trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conical.core.atomic import write_text_atomic
from conical.core.hashing import canonical_json
from conical.core.options import Options, require
from conical.datasets.scenes.generate import ScenesOptions, generate_scenes, oracle_recall_at_1, read_scenes, read_truth
from conical.models.dual_encoder import build_dual_encoder
from conical.models.options import ModelOptions
from conical.video import FrameRecipe, sample_frames
from conical.workbench.tiny_models.clip import save_clip, train_tiny_clip, zero_shot_recall_at_1
from conical.workbench.tiny_models.image_tower import frame_accuracies, train_image_tower
from conical.workbench.tiny_models.llava import CaptionFigures, measure, save_half, train_tiny_video_llava
from conical.workbench.tiny_models.training_scenes import IMAGE_PX, NUM_FRAMES, render_scenes

CLIP_FOLDER, LLAVA_FOLDER = "tiny_clip", "tiny_video_llava"
_NUM_HELD_OUT = 200
_NUM_CLIP_FRAMES = 10  # what retrieval looks at

Report = Callable[[str, int, int, float], None]


@dataclass(frozen=True, kw_only=True)
class TinyModelsOptions(Options):
    """How the tiny models are made.

    Args:
        seed: of the training scenes; the scenes of `seed + 1` measure.
        scenes: training scenes, >= 2.
        tower_steps: steps of the image tower, >= 1.
        language_steps: steps of the language model, >= 1.
        clip_steps: steps of the tiny CLIP, >= 1.
        processes: that render, >= 1.

    Raises:
        ValueError: a value is out of range.
    """

    seed: int = 1000
    scenes: int = 10_000
    tower_steps: int = 3000
    language_steps: int = 900
    clip_steps: int = 400
    processes: int = 2

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed must be >= 0, got {self.seed}")
        require(self.scenes >= 2, f"scenes must be >= 2, got {self.scenes}")
        for name in ("tower_steps", "language_steps", "clip_steps", "processes"):
            require(getattr(self, name) >= 1, f"{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TinyModelsFigures:
    """What came out.

    Args:
        frames: accuracy of the image tower on unseen frames, percent (`place`: share of the frame's side).
        captions: the tiny Video-LLaVA under each prompt, on decoded files.
        zero_shot_r1: t2v R@1 of the tiny CLIP on decoded files, percent.
        oracle_r1: t2v R@1 of a scorer that knows the truth, percent.
        seconds: wall time of all training.
    """

    frames: dict[str, float]
    captions: tuple[CaptionFigures, ...]
    zero_shot_r1: float
    oracle_r1: float
    seconds: float


def build_tiny_models(
    assets: str | Path, scratch: str | Path, options: TinyModelsOptions, *, report: Report | None = None
) -> TinyModelsFigures:
    """Train, save and measure both models.

    Args:
        assets: folder to write `tiny_clip/` and `tiny_video_llava/` into.
        scratch: folder for the scenes that measure.
        report: called as `report(stage, done, total, loss)`.

    Returns:
        The figures, also written to `assets/tiny_models.json` with the options.
    """
    assets = Path(assets)
    start = time.monotonic()
    say = report or (lambda *_: None)
    scenes = render_scenes(
        options.seed,
        options.scenes,
        num_processes=options.processes,
        report=lambda done, total: say("render", done, total, 0.0),
    )
    tower, reader = train_image_tower(
        scenes,
        steps=options.tower_steps,
        report=lambda step, loss, *_: say("tower", step, options.tower_steps, loss),
    )
    clip = train_tiny_clip(
        tower,
        scenes,
        steps=options.clip_steps,
        report=lambda step, loss: say("clip", step, options.clip_steps, loss),
    )
    save_clip(clip, assets / CLIP_FOLDER)
    model, processor = train_tiny_video_llava(
        tower,
        scenes,
        steps=options.language_steps,
        tokenizer_seed=options.seed,
        report=lambda step, loss: say("language", step, options.language_steps, loss),
    )
    save_half(model, processor, assets / LLAVA_FOLDER)
    seconds = time.monotonic() - start
    unseen = render_scenes(options.seed + 1, min(_NUM_HELD_OUT, options.scenes), num_processes=1)
    figures = measure_tiny_models(
        assets,
        scratch,
        options,
        frames=frame_accuracies(tower, reader, unseen),
        seconds=seconds,
    )
    write_text_atomic(
        assets / "tiny_models.json", canonical_json({"options": asdict(options), **asdict(figures)}) + "\n"
    )
    return figures


def measure_tiny_models(
    assets: Path, scratch: str | Path, options: TinyModelsOptions, *, frames: dict[str, float], seconds: float
) -> TinyModelsFigures:
    """Load both models from their files and measure them on decoded videos of unseen scenes.

    Args:
        assets: folder that holds the two models.
        scratch: folder for the scenes that measure.
        options: give the seed; one more is the seed of the scenes that measure.
        frames: figures of the image tower, passed on.
        seconds: time of training, passed on.
    """
    root = Path(scratch) / "held_out_scenes"
    num_clips = min(_NUM_HELD_OUT, options.scenes)
    generate_scenes(
        root, ScenesOptions(train=1, val=1, test=num_clips, seed=options.seed + 1), num_processes=options.processes
    )
    records = [record for record in read_scenes(root) if record.split == "test"]
    decoded = {
        count: np.stack([_decode(root / record.uri, count) for record in records])
        for count in (NUM_FRAMES, _NUM_CLIP_FRAMES)
    }
    clip = build_dual_encoder(
        ModelOptions(
            name=str(assets / CLIP_FOLDER / "open_clip_config.json"),
            weights=str(assets / CLIP_FOLDER / "model.safetensors"),
        )
    )
    model, processor = load_tiny_video_llava(assets / LLAVA_FOLDER)
    return TinyModelsFigures(
        frames=frames,
        captions=measure(
            model,
            processor,
            frames=decoded[NUM_FRAMES],
            truths=[read_truth(root, record.video_id) for record in records],
            captions=[record.captions[0] for record in records],
        ),
        zero_shot_r1=zero_shot_recall_at_1(
            clip.eval(), torch.from_numpy(decoded[_NUM_CLIP_FRAMES]), [record.captions for record in records]
        ),
        oracle_r1=oracle_recall_at_1(root, "test"),
        seconds=seconds,
    )


def load_tiny_video_llava(folder: str | Path) -> tuple[Any, Any]:
    """Model in float32 and processor, through `from_pretrained` alone.

    Args:
        folder: written by `save_half`.
    """
    from transformers import VideoLlavaForConditionalGeneration, VideoLlavaProcessor

    model = VideoLlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), VideoLlavaProcessor.from_pretrained(folder)


def _decode(path: Path, num_frames: int) -> np.ndarray:
    return sample_frames(path, FrameRecipe(num_frames=num_frames, size=IMAGE_PX)).frames

"""What happens in a generated clip, as data: everything a frame, a caption or a check of a caption is derived from.

Positions and lengths are in units of the *stage*, the centred square of the frame that a resize of the short side and
a centre crop keep. Times are fractions of the clip, from 0 (first frame) to 1 (last frame).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from conical.core.options import require, require_choice
from conical.core.seeds import generator

SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ("small", "large")
MOTIONS = ("left", "right", "up", "down", "still")
TEXTURES = ("striped", "checked", "spotted", "cloudy")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 25, 30),
    "orange": (255, 135, 10),
    "yellow": (250, 235, 40),
    "green": (30, 170, 45),
    "cyan": (60, 235, 235),
    "blue": (30, 60, 225),
    "purple": (160, 40, 190),
    "white": (252, 252, 252),
}
RADIUS = {"small": 0.085, "large": 0.15}
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0), "still": (0.0, 0.0)}

# (width, height): both orientations and square; even, as 4:2:0 chroma needs
_FRAME_SIZES_PX = ((96, 96), (128, 128), (160, 96), (96, 160), (128, 96), (96, 128), (176, 144), (144, 176), (144, 112))
_FPS = (12, 15, 24, 25, 30)
_OVERLAP_TRIES = 400
_CHECK_TIMES = np.linspace(0.0, 1.0, 15)


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object: what it looks like, when it enters and where it goes.

    Args:
        colour: a key of `COLOURS`.
        shape: one of `SHAPES`.
        size: one of `SIZES`.
        motion: one of `MOTIONS`.
        x: centre at entry, 0 (left) to 1 (right).
        y: centre at entry, 0 (top) to 1 (bottom).
        travel: path length between entry and the end of the clip; 0 when still.
        enters: time of entry, 0 to 1.
        angle_degrees: turn of the shape.

    Raises:
        ValueError: a word is not in the vocabulary.
    """

    colour: str
    shape: str
    size: str
    motion: str
    x: float
    y: float
    travel: float
    enters: float
    angle_degrees: float

    def __post_init__(self) -> None:
        require_choice("colour", self.colour, COLOURS)
        require_choice("shape", self.shape, SHAPES)
        require_choice("size", self.size, SIZES)
        require_choice("motion", self.motion, MOTIONS)

    def centre(self, time: float) -> tuple[float, float]:
        """Where the centre is at `time` (0 to 1), in stage units."""
        progress = max(0.0, time - self.enters) / max(1e-6, 1.0 - self.enters)
        dx, dy = DIRECTIONS[self.motion]
        return self.x + dx * self.travel * progress, self.y + dy * self.travel * progress


@dataclass(frozen=True, kw_only=True)
class Background:
    """A pale or dark texture that slides slowly.

    Args:
        texture: one of `TEXTURES`.
        drift: stage lengths it slides over the whole clip, (x, y).
        seed: of the texture's random part.
    """

    texture: str
    tint: tuple[int, int, int]
    drift: tuple[float, float]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the clip is written.

    Args:
        num_b_frames: B-frames between two reference frames; 0: none.
        gop_frames: longest distance of two key frames.
        crf: H.264 constant rate factor.
    """

    width_px: int
    height_px: int
    fps: int
    num_frames: int
    num_b_frames: int
    gop_frames: int
    crf: int


@dataclass(frozen=True, kw_only=True)
class SceneTruth:
    """The full ground truth of one clip.

    Args:
        objects: 2 or 3 objects of distinct colours, in order of entry.
        background: what is behind them.
        encoding: size, length and codec settings.
    """

    objects: tuple[SceneObject, ...]
    background: Background
    encoding: Encoding

    def __post_init__(self) -> None:
        colours = [item.colour for item in self.objects]
        require(len(set(colours)) == len(colours), f"colours of one scene must differ, got {', '.join(colours)}")
        entries = [item.enters for item in self.objects]
        require(entries == sorted(entries), f"objects must be in order of entry, got times {entries}")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_json` reverses it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SceneTruth:
        """The truth that `to_json` wrote."""
        background = data["background"]
        return cls(
            objects=tuple(SceneObject(**item) for item in data["objects"]),
            background=Background(
                **{**background, "tint": tuple(background["tint"]), "drift": tuple(background["drift"])}
            ),
            encoding=Encoding(**data["encoding"]),
        )


def draw_truth(seed: int, split: str, index: int) -> SceneTruth:
    """The scene number `index` of a split: a pure function of its arguments.

    Args:
        split: name of the split.
        index: 0-based number in the split.
    """
    rng = generator(seed, split, index, "truth")
    return SceneTruth(objects=_draw_objects(rng), background=_draw_background(rng), encoding=_draw_encoding(rng))


def _draw_objects(rng: np.random.Generator) -> tuple[SceneObject, ...]:
    count = int(rng.integers(2, 4))
    colours = rng.permutation(list(COLOURS))[:count]
    looks = [
        (str(colour), str(rng.choice(SHAPES)), str(rng.choice(SIZES)), str(rng.choice(MOTIONS))) for colour in colours
    ]
    # entries at least 0.2 apart: eight uniform frames (0.14 apart) always show who came first
    entries = [0.0, *(0.5 * (k + rng.uniform(-0.1, 0.1)) / (count - 1) for k in range(1, count))]
    best: tuple[SceneObject, ...] = ()
    best_gap = -math.inf
    for _ in range(_OVERLAP_TRIES):
        objects = tuple(_place(rng, look, enters) for look, enters in zip(looks, entries, strict=True))
        gap = _smallest_gap(objects)
        if gap > best_gap:
            best, best_gap = objects, gap
        if best_gap >= 0.0:
            break
    return best


def _place(rng: np.random.Generator, look: tuple[str, str, str, str], enters: float) -> SceneObject:
    colour, shape, size, motion = look
    margin = RADIUS[size] + 0.01
    dx, dy = DIRECTIONS[motion]
    travel = 0.0 if motion == "still" else float(rng.uniform(0.4, 0.6))
    # the whole path stays inside the stage
    low_x, high_x = margin + max(0.0, -dx * travel), 1 - margin - max(0.0, dx * travel)
    low_y, high_y = margin + max(0.0, -dy * travel), 1 - margin - max(0.0, dy * travel)
    return SceneObject(
        colour=colour,
        shape=shape,
        size=size,
        motion=motion,
        x=round(float(rng.uniform(low_x, high_x)), 4),
        y=round(float(rng.uniform(low_y, high_y)), 4),
        travel=round(travel, 4),
        enters=round(enters, 4),
        angle_degrees=round(float(rng.uniform(-12, 12)), 2),
    )


def _smallest_gap(objects: tuple[SceneObject, ...]) -> float:
    """Least distance of two rims while both are there; negative when they overlap."""
    gap = math.inf
    for k, one in enumerate(objects):
        for other in objects[k + 1 :]:
            for time in _CHECK_TIMES[max(one.enters, other.enters) <= _CHECK_TIMES]:
                distance = math.dist(one.centre(float(time)), other.centre(float(time)))
                gap = min(gap, distance - RADIUS[one.size] - RADIUS[other.size])
    return gap


def _draw_background(rng: np.random.Generator) -> Background:
    grey = rng.uniform(75, 140)
    tint = np.clip(grey + rng.uniform(-14, 14, size=3), 0, 255)
    angle = rng.uniform(0, 2 * math.pi)
    speed = rng.uniform(0.1, 0.5)
    return Background(
        texture=str(rng.choice(TEXTURES)),
        tint=(int(tint[0]), int(tint[1]), int(tint[2])),
        drift=(round(speed * math.cos(angle), 4), round(speed * math.sin(angle), 4)),
        seed=int(rng.integers(2**31)),
    )


def _draw_encoding(rng: np.random.Generator) -> Encoding:
    width, height = _FRAME_SIZES_PX[int(rng.integers(len(_FRAME_SIZES_PX)))]
    fps = int(rng.choice(_FPS))
    return Encoding(
        width_px=width,
        height_px=height,
        fps=fps,
        num_frames=round(fps * float(rng.uniform(2.0, 6.0))),
        num_b_frames=int(rng.choice([0, 0, 2, 3])),
        gop_frames=int(rng.choice([8, 12, 25, 60, 250])),
        crf=int(rng.choice([18, 20, 23])),
    )

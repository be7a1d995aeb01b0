"""Videos as folders of images, with captions beside them, and their frames stored without Ray."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from conical.config import Experiment
from conical.datasets import confined_path
from conical.library.clips import Clip
from conical.library.held_out import read_held_out
from conical.store import FrameRow, FrameStore, Workspace
from conical.video import sample_frames

CAPTIONS = {
    "v0": ["a red cat", "number 0"],
    "v1": ["a green dog"],
    "v2": ["a blue ball", "a round thing"],
    "v3": ["a red boat"],
}


def write_images(root: Path, images: Mapping[str, int]) -> Path:
    """A folder of noise of one colour per video; `images` says how many pictures each has."""
    for number, (video_id, count) in enumerate(images.items()):
        folder = root / "frames" / video_id
        folder.mkdir(parents=True)
        noise = np.random.default_rng(number)
        for index in range(count):
            picture = noise.integers(0, 80, (32, 32, 3), np.uint8)
            picture[..., number % 3] += 150
            Image.fromarray(picture).save(folder / f"{index:03d}.png")
    return root


def write_held_out(root: Path, captions: Mapping[str, list[str]] = CAPTIONS, *, short: int = 2) -> Path:
    """Images and captions.json, no list; the last video has `short` images, the others five."""
    last = list(captions)[-1]
    write_images(root, {video_id: short if video_id == last else 5 for video_id in captions})
    (root / "captions.json").write_text(json.dumps(captions))
    return root


def store_frames(on: Experiment, workspace: Workspace) -> None:
    """Frames of a folder that names no split, as ingest stores them: nothing is left for it to decode."""
    root = Path(on.dataset.root)
    records, _ = read_held_out(on.dataset, root)
    recipe = on.frames
    store = FrameStore(
        workspace.frames(on.dataset.folder, recipe.hash), recipe=dataclasses.asdict(recipe), recipe_hash=recipe.hash
    )
    store.write_part(
        "0",
        [
            FrameRow(
                video_id=record.video_id,
                fingerprint=Clip.of(record).fingerprint(str(root)),
                sampled=sample_frames(confined_path(root, record.uri), recipe),
            )
            for record in records
        ],
    )

"""A workspace as ingest leaves it, written without Ray and without videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from conical.config import Experiment
from conical.core.records import SampledFrames, VideoRecord
from conical.store import FrameRow, FrameStore, Workspace, write_manifest

_NOUNS = ("cat", "dog", "ball", "boat", "tree", "car")
_COLOURS = ("red", "green", "blue")


def write_stores(experiment: Experiment, workspace: Workspace, sizes: Mapping[str, int]) -> None:
    """Manifest and frames of `sizes[split]` clips per split; each clip is one colour of noise, its caption names it."""
    names = [(split, number) for split, size in sizes.items() for number in range(size)]
    records = [
        VideoRecord(
            video_id=f"{split}{number}",
            uri=f"{split}{number}.mp4",
            split=split,
            captions=(f"a {_COLOURS[number % 3]} {_NOUNS[number % 6]}", f"number {number}"),
        )
        for split, number in names
    ]
    recipe, folder = experiment.frames, experiment.dataset.folder
    write_manifest(workspace.manifest(folder), records)
    store = FrameStore(
        workspace.frames(folder, recipe.hash), recipe=dataclasses.asdict(recipe), recipe_hash=recipe.hash
    )
    store.write_part(
        "0", [_row(record.video_id, number, recipe) for record, (_, number) in zip(records, names, strict=True)]
    )


def _row(video_id: str, number: int, recipe) -> FrameRow:
    frames = np.random.default_rng(number).integers(0, 80, (recipe.num_frames, recipe.size, recipe.size, 3), np.uint8)
    frames[..., number % 3] += 150
    indices = tuple(range(recipe.num_frames))
    sampled = SampledFrames(
        frames=frames, frame_indices=indices, pts_seconds=tuple(index / 10 for index in indices), decoder="pyav"
    )
    return FrameRow(video_id=video_id, fingerprint=f"bytes of {video_id}", sampled=sampled)

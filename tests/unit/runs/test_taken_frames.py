"""`augment.num_frames` from the config to the frames that training and evaluation read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from conical.config import Experiment, load_experiment
from conical.core.errors import ConfigError
from conical.engine.data import load_evaluation_set, load_training_set
from conical.engine.embedding import embed_videos
from conical.runs.dependencies import data_source
from conical.store import Workspace
from ingested_stores import write_stores

NUM_STORED, NUM_TAKEN = 6, 2


def _experiment(small_clip, num_taken: int) -> Experiment:
    changes = [
        f"model.name={small_clip.name}",
        f"model.weights={small_clip.weights}",
        f"frames.num_frames={NUM_STORED}",
        "frames.size=32",
        f"augment.num_frames={num_taken}",
        "mix={human=1.0, A=0.0, B=0.0}",
    ]
    return load_experiment(None, changes)


@pytest.fixture
def workspace(tmp_path: Path, small_clip) -> Workspace:
    workspace = Workspace.open(tmp_path)
    write_stores(_experiment(small_clip, NUM_TAKEN), workspace, {"train": 4, "val": 3})
    return workspace


def _whole(text: str) -> list[str]:
    return [text]


def test_training_has_all_stored_frames_and_evaluation_the_centres(
    workspace: Workspace, small_clip, small_encoder
) -> None:
    source = data_source(_experiment(small_clip, NUM_TAKEN), workspace)
    assert load_training_set(source, split=_whole).frames.shape[1] == NUM_STORED
    val = load_evaluation_set(source, "val", split=_whole)
    stored = load_evaluation_set(data_source(_experiment(small_clip, 0), workspace), "val", split=_whole).frames
    assert val.frames.shape == (3, NUM_TAKEN, 32, 32, 3)
    centres = np.array(stored)[:, [1, 4]]  # 6 stored frames in 2 segments
    np.testing.assert_array_equal(val.frames[:], centres)
    embedded = embed_videos(small_encoder.eval(), val.frames, batch_size=2)["clip"]
    np.testing.assert_allclose(embedded, embed_videos(small_encoder, centres, batch_size=2)["clip"], atol=1e-6)


def test_a_store_with_too_few_frames_is_refused(workspace: Workspace, small_clip) -> None:
    source = data_source(_experiment(small_clip, NUM_TAKEN), workspace)
    asked = dataclasses.replace(source, num_frames=NUM_STORED + 1)
    with pytest.raises(ConfigError, match=r"augment.num_frames must be at most the 6 stored frames per clip, got 7"):
        load_evaluation_set(asked, "val", split=_whole)

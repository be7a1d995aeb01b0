"""Clips in two splits: every number says so, and nothing is chosen on val that is chosen on test by it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conical.core.errors import ProtocolError
from conical.core.records import VideoRecord
from conical.on_ray.evaluate import evaluate_run
from conical.on_ray.train import train
from conical.on_ray.tune import tune
from conical.runs.log import open_tracker
from conical.runs.report.builder import result_row
from conical.runs.shared_clips import refuse_shared_choice, shared_clips, shared_notes
from conical.store import Workspace, read_manifest, write_manifest
from unit.runs.scored_runs import small_experiment, write_run, write_workspace

# what makes one of val's clips one of test's
BY_FILE = {"uri": "test0.mp4"}
BY_SOURCE = {"source_id": "s", "extra": {"source_start_seconds": 1.0, "source_end_seconds": 2.0}}


def share(workspace: Workspace, folder: str, of: str, changes: dict[str, object]) -> None:
    """Make the first clip of a split the first one of test."""
    path = workspace.manifest(folder)

    def changed(record: VideoRecord) -> VideoRecord:
        return dataclasses.replace(record, **changes) if record.video_id in (f"{of}0", "test0") else record

    write_manifest(path, [changed(record) for record in read_manifest(path)])


@pytest.fixture
def made(small_clip, tmp_path: Path):
    experiment = small_experiment(small_clip)
    return experiment, write_workspace(experiment, tmp_path)


@pytest.mark.parametrize("changes", [BY_FILE, BY_SOURCE])
def test_nothing_is_chosen_on_val_that_holds_a_clip_of_test(made, changes: dict[str, object]) -> None:
    experiment, workspace = made
    refuse_shared_choice(experiment, workspace)
    run = write_run(experiment, workspace)
    share(workspace, experiment.dataset.folder, "val", changes)
    tracker = open_tracker(experiment, workspace)
    trained = experiment.replace({"optim.epochs": 1, "optim.batch_size": 2, "mix": {"human": 1.0}})
    captioned = experiment.replace({"evaluate.protocols": ["captioned-gallery"]}).evaluate
    for choose in (
        lambda: train(trained, workspace, tracker),
        lambda: tune(trained.replace({"tune.space": {"loss.tau_tv": {"choice": [1.0, 2.0]}}}), workspace, tracker),
        lambda: evaluate_run(run, workspace, tracker, captioned),
    ):
        with pytest.raises(ProtocolError, match=r"^1 video of test is in val too: test0 is val0 .*: what is chosen on"):
            choose()
    assert not (workspace.experiment(experiment.name) / "sweeps").exists()
    refuse_shared_choice(experiment.replace({"dataset.allow_shared": True}), workspace)


@pytest.mark.parametrize("other", ["val", "train"])
def test_every_number_says_which_clips_another_split_holds(made, other: str) -> None:
    experiment, workspace = made
    share(workspace, experiment.dataset.folder, other, BY_FILE)
    run = write_run(experiment, workspace)
    scored = evaluate_run(run, workspace, open_tracker(experiment, workspace), experiment.evaluate)
    note = f"1 video of test is in {other} too"
    named = {one.split: one.shared for one in scored}
    assert named == {"val": (note,) if other == "val" else (), "test": (note,)}
    # as stored, too, and in tables
    for one in scored:
        stored = run.read_evaluation(one.split, one.protocol)
        assert stored is not None
        assert stored.shared == one.shared
        assert (note in result_row(run.read(), stored, "label").note) is bool(one.shared)


def test_a_train_clip_in_test_is_no_choice_on_test(made) -> None:
    experiment, workspace = made
    share(workspace, experiment.dataset.folder, "train", BY_FILE)
    refuse_shared_choice(experiment, workspace)
    assert shared_notes(shared_clips(experiment, workspace), "test") == ("1 video of test is in train too",)

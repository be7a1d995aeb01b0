"""What a run depends on: each thing that determines a number moves the key, and is named when it has changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from conical.config import Experiment
from conical.runs.dependencies import Dependencies, data_source, run_dependencies
from conical.runs.identity import identify, sweep_path
from conical.store import Workspace, read_manifest, write_manifest
from ingested_stores import write_stores
from unit.runs.scored_runs import SIZES, small_experiment, write_workspace


def depends(experiment: Experiment, workspace: Workspace) -> Dependencies:
    return run_dependencies(experiment, workspace, data_source(experiment, workspace))


def test_changes_are_named_settings_first() -> None:
    now = Dependencies(settings={"seed": 1, "loss": {"tau_tv": 2.0, "name": "ceo"}}, data={"frames": "b", "code": "c"})
    then = Dependencies(settings={"seed": 0, "loss": {"tau_tv": 1.0, "name": "ceo"}}, data={"frames": "a", "code": "c"})
    assert now.changes_since(then) == ("seed", "loss.tau_tv", "frames")
    assert now.changes_since(now) == ()
    assert now.key != then.key


def test_another_loss_moves_the_key_with_all_that_it_brings(small_clip, tmp_path: Path) -> None:
    experiment = small_experiment(small_clip)
    workspace = write_workspace(experiment, tmp_path)
    before, after = (depends(one, workspace) for one in (experiment, experiment.replace({"loss.name": "info_nce"})))
    assert after.changes_since(before) == ("loss.name", "loss.denominator", "loss.symmetric")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"loss.tau_tv": 30.0}, "loss.tau_tv"),
        ({"loss.denominator": "all"}, "loss.denominator"),
        ({"optim.learning_rate": 1e-5}, "optim.learning_rate"),
        ({"augment.rotation_degrees": 3.0}, "augment.rotation_degrees"),
    ],
)
def test_a_determining_setting_moves_the_key_and_is_named(
    small_clip, tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    experiment = small_experiment(small_clip)
    workspace = write_workspace(experiment, tmp_path)
    before, after = (depends(one, workspace) for one in (experiment, experiment.replace(changes)))
    assert after.changes_since(before) == (name,)
    assert after.key != before.key


@pytest.mark.parametrize(
    "changes",
    [{"label": "other"}, {"evaluate.num_resamples": 200}, {"ray.num_workers": 1}, {"tune.num_trials": 3}],
)
def test_what_only_says_where_or_how_it_is_scored_leaves_the_key(small_clip, tmp_path: Path, changes) -> None:
    experiment = small_experiment(small_clip)
    workspace = write_workspace(experiment, tmp_path)
    assert depends(experiment, workspace).key == depends(experiment.replace(changes), workspace).key


def test_changed_captions_and_frames_are_named(small_clip, tmp_path: Path) -> None:
    experiment = small_experiment(small_clip)
    workspace = write_workspace(experiment, tmp_path)
    before = depends(experiment, workspace)
    manifest = workspace.manifest(experiment.dataset.folder)
    first, *rest = read_manifest(manifest)
    write_manifest(manifest, [dataclasses.replace(first, captions=("mended",)), *rest])
    assert depends(experiment, workspace).changes_since(before) == ("manifest",)
    write_stores(experiment, workspace, {**SIZES, "train": SIZES["train"] + 1})
    assert "frames" in depends(experiment, workspace).changes_since(before)


def test_the_key_is_the_folder_and_a_trial_has_its_own(small_clip, tmp_path: Path) -> None:
    experiment = small_experiment(small_clip)
    workspace = write_workspace(experiment, tmp_path)
    identity = identify(experiment, workspace)
    assert identity.key == identity.folder.path.name == depends(experiment, workspace).key
    sweep = sweep_path(experiment, workspace).parent.name
    trial = identify(experiment, workspace, sweep=sweep)
    assert trial.key != identity.key
    assert trial.depends_on.changes_since(identity.depends_on) == ("sweep",)

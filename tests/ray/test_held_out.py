"""A run scored on a folder of images that nobody has ingested: only the scored split is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import conical
from conical.core.errors import ProtocolError
from conical.on_ray.evaluate_on import evaluate_on
from conical.runs.other_dataset import OtherDataset
from conical.store import FrameStore
from held_out_folder import write_held_out
from unit.runs.scored_runs import RecordingTracker, small_experiment, write_run, write_workspace

pytestmark = pytest.mark.ray


@pytest.fixture
def running_ray() -> Iterator[None]:
    import ray

    paths = (Path(conical.__file__).parent.parent, Path(__file__).parent.parent)
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(map(str, paths))}},
    )
    yield
    ray.shutdown()


def test_images_are_decoded_for_the_scored_split_alone(small_clip, tmp_path: Path, running_ray: None) -> None:
    experiment = small_experiment(small_clip)
    workspace = write_workspace(experiment, tmp_path / "workspace")
    run = write_run(experiment, workspace)
    root = write_held_out(tmp_path / "mine")
    (root / "train.txt").write_text("v0\n")
    (root / "test.txt").write_text("v1\nv2\nv3\n")
    asked = OtherDataset(root=root, num_frames=4)
    options = experiment.replace({"evaluate.splits": ["test"]}).evaluate
    found = evaluate_on(run, workspace, RecordingTracker(), options, asked)
    assert (found.frames.ok, found.frames.padded) == (3, 1)
    store = FrameStore.open(workspace.frames(found.dataset, found.frame_recipe))
    assert store.video_ids() == {"v1", "v2", "v3"}
    assert found.evaluations[0].video_ids == ("v1", "v2", "v3")
    # nothing is decoded again, and nothing scored
    again = evaluate_on(run, workspace, RecordingTracker(), options, asked)
    assert (again.frames.ok, again.frames.skipped, len(again.record.looks)) == (0, 3, 1)
    # other pictures under the same names
    (root / "frames" / "v1" / "000.png").write_bytes((root / "frames" / "v2" / "000.png").read_bytes())
    with pytest.raises(ProtocolError, match=r"was scored on other files of test, frames of test: --repeat scores"):
        evaluate_on(run, workspace, RecordingTracker(), options, asked)
    repeated = evaluate_on(run, workspace, RecordingTracker(), options, asked, repeat=True)
    assert len(repeated.record.looks) == 2

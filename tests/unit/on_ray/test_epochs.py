"""A run inside a worker: too little memory is told before the first step, and reaches the terminal once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conical.cli.progress_line import ProgressLine
from conical.core.progress import Notice
from conical.on_ray import epochs
from conical.on_ray.train_progress import TrainProgress
from conical.runs.dependencies import data_source
from conical.store import Workspace
from ingested_stores import write_stores
from unit.runs.scored_runs import small_experiment


@pytest.mark.parametrize(("free", "is_warned"), [(10**12, False), (10**6, True)])
def test_a_step_that_will_not_fit_is_told_before_it_is_made(
    small_clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, is_warned: bool
) -> None:
    monkeypatch.setattr(epochs, "free_bytes", lambda device: free)
    experiment = small_experiment(small_clip).replace(
        {"optim": {"epochs": 1, "batch_size": 2}, "mix": {"human": 1.0, "A": 0.0, "B": 0.0}}
    )
    workspace = Workspace.open(tmp_path)
    write_stores(experiment, workspace, {"train": 4, "val": 3})
    said: list[str] = []
    epochs.run_epochs(
        experiment,
        data_source(experiment, workspace),
        report=lambda report: said.append(f"epoch {report.epoch:g}"),
        side_by_side=2,
        warn=said.append,
    )
    assert said[-2:] == ["epoch 0", "epoch 1"]
    assert len(said) == 2 + is_warned
    if is_warned:
        assert said[0].startswith("a step of 2 rows takes about 0.")
        assert "2 side by side" in said[0]
        assert said[0].endswith("lower optim.batch_size or augment.num_frames")


def test_the_warning_of_a_worker_is_a_line_of_the_terminal(small_clip) -> None:
    experiment = small_experiment(small_clip).replace({"label": "[red]ours"})
    out = io.StringIO()
    message: dict[str, Any] = {"warning": "a step of 64 rows takes about 7.2 GB or more"}
    with ProgressLine(Console(file=out, width=100)) as line:
        told = TrainProgress(experiment, line)
        for _ in range(2):  # a restarted worker says it again
            told(message, None)  # type: ignore[arg-type]
    assert out.getvalue().split("\n") == [f"train           [red]ours: warning: {message['warning']}", ""]
    assert Notice(stage="train", text="x") == Notice(stage="train", text="x")

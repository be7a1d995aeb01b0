"""What Ray Tune is told: which metric chooses, and which way it improves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune as ray_tune

from conical.config import load_experiment
from conical.on_ray.tune import _build_tuner as build_tuner
from conical.store import Workspace


class FakeTuner:
    """Keeps what it is made of; nothing is started."""

    def __init__(self, trainable: Any, **options: Any) -> None:
        self.trainable = trainable
        self.options = options

    @staticmethod
    def can_restore(path: str) -> bool:
        return False


@pytest.mark.parametrize("scheduler", ["asha", "none"])
@pytest.mark.parametrize(
    ("metric", "mode"), [("R1", "max"), ("R5", "max"), ("R10", "max"), ("MedR", "min"), ("MeanR", "min")]
)
def test_searcher_and_scheduler_are_told_the_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, mode: str, scheduler: str
) -> None:
    monkeypatch.setattr(ray_tune, "Tuner", FakeTuner)
    monkeypatch.setattr(ray_tune, "with_parameters", lambda trainable, **_: lambda config: None)
    name = f"val/raw/t2v/{metric}"
    experiment = load_experiment(None, [f"select_by={name}", f"tune.scheduler={scheduler}"])
    tuner = build_tuner(experiment, workspace=Workspace(tmp_path), folder=tmp_path / "6e7cdf76", mailbox=None)
    assert tuner.trainable.__name__ == "tune-6e7cdf76", "Ray's pages call trials by their sweep"
    config = tuner.options["tune_config"]
    assert (config.search_alg.metric, config.search_alg.mode) == (name, mode)
    # Tune hands these on to the scheduler; without one it must not choose a best trial of its own
    expected = (name, mode) if scheduler == "asha" else (None, None)
    assert (config.metric, config.mode) == expected
    if scheduler == "asha":
        assert config.scheduler.set_search_properties(config.metric, config.mode)
        assert config.scheduler._metric_op == (1.0 if mode == "max" else -1.0)

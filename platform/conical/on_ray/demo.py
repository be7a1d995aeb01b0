"""The whole chain on generated videos: five methods, one sweep, one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conical.config import Experiment
from conical.core.progress import Report, no_report
from conical.on_ray.evaluate import evaluate_run
from conical.on_ray.prepare import prepare
from conical.on_ray.train import train
from conical.on_ray.tune import tune
from conical.runs.log import open_tracker
from conical.store import RunFolder, Workspace

_HUMAN_ONLY = {"mix": {"human": 1.0}}

# what each method changes of the demo's settings; jobs/configs holds the same as files
METHODS: dict[str, dict[str, Any]] = {
    "zero-shot": {"label": "zero-shot tiny CLIP", "optim.epochs": 0, **_HUMAN_ONLY},
    "infonce-human": {"label": "InfoNCE, human captions", "loss.name": "info_nce", **_HUMAN_ONLY},
    "ceo-human": {"label": "CEO, human captions", **_HUMAN_ONLY},
    "ceo-supplements": {"label": "CEO, human captions + supplements"},
}


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo made.

    Args:
        runs: the methods' runs, in the order of `METHODS`.
        tuned: the sweep's winner.
    """

    runs: tuple[RunFolder, ...]
    tuned: RunFolder


def run_demo(experiment: Experiment, workspace: Workspace, report: Report = no_report) -> DemoResult:
    """Ingest, caption, train each method, search, score val and test; what is done is not done again."""
    prepare(experiment, workspace, report)
    tracker = open_tracker(experiment, workspace)
    runs = []
    for changes in METHODS.values():
        run = train(experiment.replace(changes), workspace, tracker, report)
        evaluate_run(run, workspace, tracker, experiment.evaluate, report=report)
        runs.append(run)
    best = tune(experiment, workspace, tracker, report).best
    tuned = RunFolder(workspace.experiment(experiment.name) / "runs" / best.run_key)
    evaluate_run(tuned, workspace, tracker, experiment.evaluate, report=report)
    return DemoResult(runs=tuple(runs), tuned=tuned)

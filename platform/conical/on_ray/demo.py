"""The whole chain on generated videos: four methods, one sweep, one report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from conical.config import Experiment
from conical.core.progress import Activity, Report, Step, no_report
from conical.library.importing import import_dataset
from conical.on_ray.caption import caption
from conical.on_ray.evaluate import evaluate_run
from conical.on_ray.ingest import ingest
from conical.on_ray.prepare import needs_supplements
from conical.on_ray.train import train
from conical.on_ray.tune import tune
from conical.reports import ReportData, ReportPaths, write_report
from conical.runs.log import open_tracker
from conical.runs.report.builder import build_report
from conical.runs.report.publish import publish_report
from conical.store import RunFolder, Workspace
from conical.tracking import MlflowTracker

_HUMAN_ONLY = {"mix": {"human": 1.0}}


@dataclass(frozen=True, kw_only=True)
class DemoMethod:
    """A method of the demo.

    Args:
        step: what its step does, for a reader who knows none of the methods.
        changes: what it changes of the demo's settings; jobs/configs holds the same as files.
    """

    step: str
    changes: dict[str, Any]


METHODS = {
    "zero-shot": DemoMethod(
        step="score the encoder as it was loaded",
        changes={"label": "zero-shot tiny CLIP", "optim.epochs": 0, **_HUMAN_ONLY},
    ),
    "infonce-human": DemoMethod(
        step="fine-tune it with InfoNCE, the baseline",
        changes={"label": "InfoNCE, human captions", "loss.name": "info_nce", **_HUMAN_ONLY},
    ),
    "ceo-human": DemoMethod(step="fine-tune it with CEO", changes={"label": "CEO, human captions", **_HUMAN_ONLY}),
    "ceo-supplements": DemoMethod(
        step="fine-tune it with CEO and the supplements", changes={"label": "CEO, human captions + supplements"}
    ),
}


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo made.

    Args:
        data: what the report holds.
        paths: where it was written.
    """

    data: ReportData
    paths: ReportPaths


def run_demo(experiment: Experiment, workspace: Workspace, report: Report = no_report) -> DemoResult:
    """Ingest, caption, train each method, search, score val and test, report; what is done is not done again."""
    parts = _parts(experiment, workspace, report)
    for number, (title, do) in enumerate(parts, start=1):
        report(Step(number=number, total=len(parts) + 1, title=title))
        do()
    report(Step(number=len(parts) + 1, total=len(parts) + 1, title="write the report"))
    report(Activity(stage="report", doing="comparing runs on the same queries"))
    data = build_report(workspace, experiment.name)
    report(Activity(stage="report", doing="drawing figures, writing tables and the page"))
    folder = workspace.experiment(experiment.name) / "report"
    paths = write_report(data, folder)
    publish_report(folder, experiment, workspace)
    return DemoResult(data=data, paths=paths)


def _parts(experiment: Experiment, workspace: Workspace, report: Report) -> list[tuple[str, Callable[[], object]]]:
    """All but the report: what each does in words, and what does it."""
    dataset = cache(partial(import_dataset, experiment, workspace, report))  # read once
    parts: list[tuple[str, Callable[[], object]]] = [
        ("generate videos with captions", dataset),
        ("decode and store frames of every video", lambda: ingest(experiment, workspace, report, dataset=dataset())),
    ]
    if needs_supplements(experiment):
        title = "let a small language model watch the videos and write supplements"
        parts.append((title, lambda: caption(experiment, workspace, report, dataset=dataset())))
    tracker = open_tracker(experiment, workspace)
    parts += [
        (method.step, partial(_train_and_score, experiment.replace(method.changes), workspace, tracker, report))
        for method in METHODS.values()
    ]
    return [
        *parts,
        ("search temperatures and the prompt mix", partial(_tune_and_score, experiment, workspace, tracker, report)),
    ]


def _train_and_score(experiment: Experiment, workspace: Workspace, tracker: MlflowTracker, report: Report) -> None:
    run = train(experiment, workspace, tracker, report)
    evaluate_run(run, workspace, tracker, experiment.evaluate, report=report)


def _tune_and_score(experiment: Experiment, workspace: Workspace, tracker: MlflowTracker, report: Report) -> None:
    best = tune(experiment, workspace, tracker, report).best
    tuned = RunFolder(workspace.experiment(experiment.name) / "runs" / best.run_key)
    evaluate_run(tuned, workspace, tracker, experiment.evaluate, report=report)

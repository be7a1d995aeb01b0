"""Score a finished run on splits, and write down each look at the test split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from conical.config import Experiment, parse_experiment
from conical.core.errors import DataError
from conical.engine.data import DataSource
from conical.metrics import RetrievalMetrics, metric_name
from conical.on_ray.progress import Progress, Report, no_report
from conical.on_ray.run_identity import data_source
from conical.on_ray.session import connect
from conical.store import EvaluationRecord, RunFolder, Workspace, list_runs, read_sweep
from conical.tracking import MlflowTracker


def find_run(workspace: Workspace, experiment: str, name: str) -> RunFolder:
    """A run by its key (or the first letters of it) or its MLflow id.

    Raises:
        DataError: none or several fit.
    """
    runs = list_runs(workspace.experiment(experiment))
    if not runs:
        raise DataError(
            f"run {name!r} is not in {workspace.root}: experiment {experiment!r} has no run yet, train first"
        )
    found = [run for run in runs if run.path.name.startswith(name) or run.read().tracking_id == name]
    if len(found) != 1:
        known = ", ".join(f"{run.path.name[:8]} ({run.read().label})" for run in runs)
        what = "fits no run" if not found else f"fits {len(found)} runs"
        raise DataError(f"run {name!r} {what} of experiment {experiment!r}: choose one of {known}")
    return found[0]


def scorable_runs(workspace: Workspace, experiment: str, names: list[str]) -> list[RunFolder]:
    """The named runs, else every finished run of the experiment that is not a trial.

    Raises:
        DataError: a name fits nothing, or there is no run.
    """
    if names:
        return [run for name in names for run in runs_named(workspace, experiment, name)]
    folder = workspace.experiment(experiment)
    sweeps = [read_sweep(path) for path in folder.glob("sweeps/*/sweep.json")]
    trials = {trial.run_key for sweep in sweeps if sweep is not None for trial in sweep.trials}
    runs = [run for run in list_runs(folder) if run.is_finished and run.path.name not in trials]
    if not runs:
        raise DataError(f"experiment {experiment!r} has no finished run in {workspace.root}: run train first")
    return runs


def runs_named(workspace: Workspace, experiment: str, name: str) -> list[RunFolder]:
    """All finished runs with this label, by seed; else the one run with this key or MLflow id.

    Raises:
        DataError: nothing fits.
    """
    labelled = [run for run in list_runs(workspace.experiment(experiment)) if run.is_finished]
    labelled = [run for run in labelled if run.read().label == name]
    return sorted(labelled, key=lambda run: run.read().seed) or [find_run(workspace, experiment, name)]


def evaluate_run(
    run: RunFolder,
    workspace: Workspace,
    tracker: MlflowTracker,
    splits: tuple[str, ...],
    *,
    repeat: bool = False,
    report: Report = no_report,
) -> list[EvaluationRecord]:
    """Score a run on splits that it was not scored on yet.

    Args:
        run: a finished run.
        workspace: holds its data.
        tracker: MLflow; metrics go to the run itself.
        splits: which.
        repeat: score again; a further look at test is counted in the record.
        report: told after each split.

    Returns:
        One record a split.

    Raises:
        DataError: the run is not finished.
    """
    record = run.read()
    if not run.is_finished:
        raise DataError(
            f"run {record.key} ({record.label}) is {record.status}, not finished: train it to the end first"
        )
    experiment = parse_experiment(record.config, origin=f"the settings of run {record.key}")
    found = []
    for number, split in enumerate(splits):
        scored = None if repeat else run.read_evaluation(split, experiment.evaluate.protocol)
        if scored is None:
            # `raw` reads no supplement: a run can be scored where its captioner has gone or changed
            source = data_source(experiment, workspace, has_supplements=False)
            scored = _score(run, experiment, source, split, logs=workspace.logs)
            # the stored evaluation comes last but for its copy: killed before it, the split is scored and booked again,
            # so a look at test may be counted twice but never missed
            _book(run, scored, tracker)
            run.write_evaluation(scored)
            tracker.log_files(record.tracking_id, run.evaluation_path("", "").parent, under="evaluation")
        found.append(scored)
        report(Progress(stage="evaluate", done=number + 1, total=len(splits), unit="splits", note=record.label))
    return found


def _score(run: RunFolder, experiment: Experiment, source: DataSource, split: str, *, logs: Path) -> EvaluationRecord:
    """Embed and rank: in a Ray task where the GPUs are, else here, which saves a worker's start."""
    words = (str(run.path), experiment.to_dict(), source, split)
    if experiment.ray.use_gpu:
        connect(logs)
        return score_on_ray(*words, num_gpus=1)
    return score_split(*words)


def score_on_ray(
    path: str, settings: dict[str, Any], source: DataSource, split: str, *, num_gpus: float
) -> EvaluationRecord:
    """`score_split` in a Ray task, tried again if its worker dies. Ray must be running."""
    import ray

    task = ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=3)(score_split)
    scored: EvaluationRecord = ray.get(task.remote(path, settings, source, split))
    return scored


def score_split(path: str, settings: dict[str, Any], source: DataSource, split: str) -> EvaluationRecord:
    """Embed and rank one split with a run's best encoder, in this process."""
    import torch

    from conical.engine.checkpoint import load_weights
    from conical.engine.data import load_evaluation_set
    from conical.engine.evaluate import evaluate
    from conical.models.dual_encoder import build_dual_encoder

    experiment = parse_experiment(settings, origin="the run's settings")
    encoder = build_dual_encoder(experiment.model)
    load_weights(encoder, RunFolder(Path(path)).encoder)
    encoder.to(torch.device("cuda" if experiment.ray.use_gpu else "cpu"))
    data = load_evaluation_set(source, split, count_tokens=encoder.count_tokens)
    scored = evaluate(encoder, data, experiment.evaluate, seed=experiment.seed)
    return EvaluationRecord(
        split=split,
        protocol=scored.protocol,
        metrics=_plain(scored.metrics),
        num_queries=scored.metrics.t2v.num_queries,
        num_gallery=scored.metrics.t2v.num_gallery,
        has_ties=any(found.has_ties for found in scored.metrics.directions().values()),
        ranks_t2v=scored.metrics.t2v.ranks,
        ranks_v2t=scored.metrics.v2t.ranks,
        similarity=scored.similarity,
        video_ids=scored.video_ids,
        texts=scored.texts,
        text_video=scored.text_video,
    )


def _plain(metrics: RetrievalMetrics) -> dict[str, dict[str, float]]:
    """`t2v/R1` and so on, with the bounds of the interval."""
    return {
        f"{direction}/{name}": {
            "value": value,
            "low": found.intervals[name].low,
            "high": found.intervals[name].high,
        }
        for direction, found in metrics.directions().items()
        for name, value in found.values().items()
    }


def _book(run: RunFolder, scored: EvaluationRecord, tracker: MlflowTracker) -> None:
    """Count a look at test, then log the metrics to the run's own MLflow run."""
    record = run.read()
    if scored.split == "test":
        record = dataclasses.replace(record, test_looks=record.test_looks + 1)
        run.write(record)
        tracker.tag(record.tracking_id, {"conical.test_looks": str(record.test_looks)})
    rows: dict[str, float] = {}
    for name, metric in scored.metrics.items():
        direction, _, short = name.partition("/")
        full = metric_name(scored.split, scored.protocol, direction, short)
        # the same name as the curve of val would mix two meanings: an evaluation is of the best epoch
        prefix = "best/" if scored.split == "val" else ""
        rows |= {
            f"{prefix}{full}": metric["value"],
            f"{prefix}{full}.low": metric["low"],
            f"{prefix}{full}.high": metric["high"],
        }
    tracker.log(record.tracking_id, [(record.best_epoch, rows)])

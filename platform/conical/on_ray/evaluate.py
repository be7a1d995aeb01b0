"""Score a finished run under protocols, families and subsets, and write down each look at the test split."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

from conical.config import Experiment, parse_experiment
from conical.core.progress import Activity, Progress, Report, no_report
from conical.core.records import SplitCount
from conical.engine.options import EvaluateOptions
from conical.metrics import EvaluationName
from conical.on_ray.evaluate_worker import ScoreTask, score_each, score_on_ray
from conical.on_ray.room import needs
from conical.on_ray.session import connect
from conical.runs.completeness import completeness_of, split_counts
from conical.runs.dependencies import EvaluationDependencies, data_source
from conical.runs.looks import with_all_looks
from conical.runs.refusals import is_losing_trial, leak_free_list, refuse_prompts, refuse_unfinished
from conical.runs.shared_clips import refuse_shared_choice, shared_clips, shared_notes
from conical.runs.staleness import refuse_stale, stale_evaluations
from conical.runs.supplements import find_supplements
from conical.runs.tracked import best_metric, final_metrics, metrics_table
from conical.store import EvaluationRecord, RunFolder, TestLook, Workspace
from conical.tracking import MlflowTracker


def evaluate_run(
    run: RunFolder,
    workspace: Workspace,
    tracker: MlflowTracker,
    options: EvaluateOptions,
    *,
    repeat: bool = False,
    allow_trial: bool = False,
    report: Report = no_report,
) -> list[EvaluationRecord]:
    """Score a run where it was not scored yet.

    Args:
        tracker: MLflow; metrics go to the run itself.
        options: splits, protocols, families, subsets and how each is scored.
        repeat: score again; each further look at test is counted in the record.
        allow_trial: score a trial on test that did not win its sweep; the record says so.
        report: told after each evaluation.

    Returns:
        One record for each of `options.names()`, in their order.

    Raises:
        DataError: the run is not finished, or supplements are missing.
        ProtocolError: test is asked of a trial that was not chosen, a gallery would hold the query, what is stored was
            scored with other options or data, or a protocol chooses on val, which shares clips with test.
        StoreError: there is no audit for a leak-free subset.
    """
    record = run.read()
    refuse_unfinished(run)
    experiment = parse_experiment(record.config, origin=f"the settings of run {record.key}")
    refuse_prompts(experiment.captions.resolved_prompts(), options)
    names = options.names()
    found = {name: None if repeat else _stored(run, name) for name in names}
    known = [stored for stored in found.values() if stored is not None]
    stale = stale_evaluations(run, known, options, experiment=experiment, workspace=workspace)
    if stale:
        # whoever looks at the run in MLflow must see it too
        reasons = "; ".join(f"{one.scored.name} {one.reason}" for one in stale)
        tracker.tag(record.tracking_id, {"conical.stale": reasons})
        refuse_stale(stale, run)
    missing = tuple(name for name in names if found[name] is None)
    is_forced = any(name.split == "test" for name in missing) and is_losing_trial(run, allow=allow_trial)

    def tell(num_missing: int) -> None:
        done = len(names) - num_missing
        report(Progress(stage="evaluate", subject=record.label, done=done, total=len(names), unit="evaluations"))

    tell(len(missing))
    if missing:
        report(Activity(stage="evaluate", subject=record.label, doing=f"scoring {missing[0]}"))
    for number, scored in enumerate(_score(run, experiment, workspace, options, names=missing, report=report), start=1):
        # the stored evaluation comes last but for its copy: killed before it, the split is scored and booked again,
        # so a look at test may be counted twice but never missed
        _book(run, scored, experiment, tracker, is_forced=is_forced)
        run.write_evaluation(scored)
        found[scored.name] = scored
        tell(len(missing) - number)
        if number < len(missing):
            report(Activity(stage="evaluate", subject=record.label, doing=f"scoring {missing[number]}"))
    if missing:
        tracker.log_files(record.tracking_id, run.evaluations, under="evaluation")
        stored = [one for name in run.evaluation_names() if (one := _stored(run, name)) is not None]
        tracker.log_text(record.tracking_id, metrics_table(stored), path="evaluation/metrics.csv")
        if repeat:
            tracker.tag(record.tracking_id, {"conical.stale": ""})
    return [scored for scored in found.values() if scored is not None]


def _stored(run: RunFolder, name: EvaluationName) -> EvaluationRecord | None:
    return run.read_evaluation(name.split, name.protocol, family=name.family, subset=name.subset)


def _score(
    run: RunFolder,
    experiment: Experiment,
    workspace: Workspace,
    options: EvaluateOptions,
    *,
    names: tuple[EvaluationName, ...],
    report: Report,
) -> Iterator[EvaluationRecord]:
    """Embed and rank: in a Ray task where the GPUs are, else here, which saves a worker's start."""
    if not names:
        return
    if any(name.split == "test" and "val" in options.splits_behind(name) for name in names):
        refuse_shared_choice(experiment, workspace)
    # only what these names read: `raw` can be scored where the captioner has gone or changed
    read = options.only(names)
    source = data_source(experiment, workspace, has_supplements=False)
    if read.supplement_prompts:
        splits = sorted({split for name in names for split in options.splits_behind(name)})
        found = find_supplements(experiment, workspace, read.supplement_prompts, splits=splits)
        source = dataclasses.replace(source, supplement_keys=found.keys)
    has_leak_free = any(name.subset == "leak-free" for name in names)
    leak_free = leak_free_list(experiment, workspace) if has_leak_free else None
    task = ScoreTask(
        path=str(run.path),
        settings=experiment.to_dict(),
        source=source,
        options=read,
        names=names,
        subsets={"leak-free": leak_free.video_ids} if leak_free else {},
    )
    counts, shared = split_counts(experiment, workspace), shared_clips(experiment, workspace)
    now = EvaluationDependencies(run, experiment, workspace, options)
    depends_on = {name: now.of(name).to_dict() for name in names}  # before anything is read: what changes later is seen

    def tell(what: str) -> None:
        report(Activity(stage="evaluate", subject=run.read().label, doing=what))

    on_gpu = experiment.ray.use_gpu
    if on_gpu:
        connect(workspace.logs, report)
    about: dict[str, object] = {}
    if leak_free:
        about["subset"] = {"rules": leak_free.rules, "of_test_videos": leak_free.num_test}
    for scored in score_on_ray(task, needs(experiment)["evaluate"], tell) if on_gpu else score_each(task):
        described = _described(scored, experiment, counts=counts, about=about if scored.subset else {})
        notes = shared_notes(shared, scored.split)
        yield dataclasses.replace(described, depends_on=depends_on[scored.name], shared=notes)


def _described(
    scored: EvaluationRecord, experiment: Experiment, *, counts: dict[str, SplitCount], about: dict[str, object]
) -> EvaluationRecord:
    """With what only the driver knows: what is missing of the data, and how a subset was made."""
    needed = completeness_of(counts, split=scored.split, is_trained=experiment.optim.epochs > 0)
    return dataclasses.replace(scored, completeness=needed, settings={**scored.settings, **about})


def _book(
    run: RunFolder, scored: EvaluationRecord, experiment: Experiment, tracker: MlflowTracker, *, is_forced: bool
) -> None:
    """Count a look at test, then log the metrics to the run's own MLflow run."""
    record = run.read()
    tags = {"conical.partial": scored.partial_note} if scored.is_partial else {}
    if scored.shared:
        tags["conical.shared"] = "; ".join(scored.shared)
    if scored.split == "test":
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = record.with_look(TestLook(name=str(scored.name), time=now, is_forced=is_forced))
        run.write(record)
        tags["conical.test_looks"] = str(with_all_looks(run).test_looks)
    if tags:
        tracker.tag(record.tracking_id, tags)
    rows = final_metrics(scored)
    metric = experiment.select_by
    if record.val_value is None and metric.startswith(f"{scored.name}/"):
        # a run that was not trained has no epochs that would have told
        rows[best_metric(metric)] = scored.metrics[metric.removeprefix(f"{scored.name}/")].value
    if rows:
        tracker.log(record.tracking_id, [(0, rows)])  # no point of a curve

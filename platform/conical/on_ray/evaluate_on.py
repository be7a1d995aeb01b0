"""Score a finished run on another dataset than its own: zero-shot transfer, or videos that someone held out.

    1. import    the folder becomes a dataset of the workspace
    2. ingest    the scored splits, by the run's frame recipe; only the number of frames may differ
    3. score     under `raw`, all stored frames; kept in `evaluation_on/<dataset>/` of the run

Nothing of it enters the run's own evaluations, tables or metrics; MLflow gets files below `on/<dataset>/`.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conical.config import Experiment, parse_experiment
from conical.core.progress import Activity, Report, no_report
from conical.engine.options import EvaluateOptions
from conical.library.held_out import names_no_split, read_held_out
from conical.library.importing import ImportedDataset, import_dataset
from conical.metrics import EvaluationName
from conical.on_ray.evaluate_worker import ScoreTask, score_each, score_on_ray
from conical.on_ray.ingest import IngestSummary, ingest
from conical.on_ray.room import needs
from conical.on_ray.session import connect
from conical.runs.dependencies import Dependencies, data_source
from conical.runs.looks import with_looks_on
from conical.runs.other_dataset import (
    OtherDataset,
    OtherDependencies,
    completeness_on,
    refuse_absent_splits,
    refuse_other_options,
    refuse_stale_on,
    seen_notes,
    seen_videos,
)
from conical.runs.refusals import is_losing_trial, refuse_unfinished
from conical.runs.tracked import metrics_table
from conical.store import EvaluationRecord, RunFolder, RunRecord, TestLook, Workspace
from conical.store.runs import EvaluationsOn
from conical.tracking import MlflowTracker


@dataclass(frozen=True, kw_only=True)
class EvaluatedOn:
    """What `evaluate_on` gives.

    Args:
        record: the run's, with the looks at test of the other dataset in place of its own.
        dataset: folder of the other dataset in the workspace.
        root: its folder.
        num_frames: frames of each video.
        frame_recipe: hash of the recipe they were made by.
        notes: what the import has to say.
        frames: what the ingest did, of the scored splits.
        evaluations: one for each of `options.names()`, in their order.
        place: where they lie.
    """

    record: RunRecord = field(repr=False)
    dataset: str
    root: Path
    num_frames: int
    frame_recipe: str
    notes: tuple[str, ...]
    frames: IngestSummary = field(repr=False)
    evaluations: tuple[EvaluationRecord, ...] = field(repr=False)
    place: EvaluationsOn


def evaluate_on(
    run: RunFolder,
    workspace: Workspace,
    tracker: MlflowTracker,
    options: EvaluateOptions,
    asked: OtherDataset,
    *,
    repeat: bool = False,
    allow_trial: bool = False,
    report: Report = no_report,
) -> EvaluatedOn:
    """Score a run on another dataset where it was not scored on it yet.

    Args:
        tracker: MLflow; the run there gets files, no metric.
        options: splits, families and how each is scored.
        asked: the dataset.
        repeat: score again; each further look at its test split is counted.
        allow_trial: score a trial on test that did not win its sweep; the look says so.
        report: told of what is done.

    Returns:
        Numbers, and what is known of the dataset.

    Raises:
        DataError: the run is not finished, or folder, captions, images or split are missing.
        ConfigError: it is the run's own dataset, or an option is unknown.
        ProtocolError: more is asked than frames and captions of the split can tell, test is asked of a trial that was
            not chosen, or what is stored was scored with other options or data.
    """
    refuse_unfinished(run)
    refuse_other_options(options)
    record = run.read()
    trained = parse_experiment(record.config, origin=f"the settings of run {record.key}")
    on = asked.experiment(trained)
    place, root, names = run.on(on.dataset.folder), Path(on.dataset.root), options.names()
    found = {name: None if repeat else place.read_evaluation(name) for name in names}
    missing = tuple(name for name in names if found[name] is None)
    is_forced = any(name.split == "test" for name in missing) and is_losing_trial(run, allow=allow_trial)

    dataset = _imported(on, workspace, report, has_captions=asked.captions is not None)
    refuse_absent_splits(dataset.records, options.splits, root=root)
    now = OtherDependencies(run, on, workspace, options)
    for name, stored in found.items():
        if stored is not None:  # before frames are decoded for nothing
            refuse_stale_on(stored, Dependencies(settings=now.settings(name), data={}), run, root=root)
    scored_splits = [one for one in dataset.records if one.split in options.splits]
    # files are hashed: a number is shown as the answer for these bytes
    frames = ingest(on, workspace, report, dataset=dataclasses.replace(dataset, records=scored_splits), verify=True)
    for name, stored in found.items():
        if stored is not None:
            refuse_stale_on(stored, now.of(name), run, root=root)

    for scored in _score(run, trained, on, workspace, options, names=missing, report=report):
        if scored.split == "test":
            time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            place.add_look(TestLook(name=str(scored.name), time=time, is_forced=is_forced))
        looks = len(with_looks_on(run, on.dataset.folder).looks)
        described = _described(scored, on, frames=frames, looks=looks)
        place.write_evaluation(described)
        found[scored.name] = described
    evaluations = tuple(scored for scored in found.values() if scored is not None)
    if missing:
        under = f"on/{on.dataset.folder}"
        tracker.log_files(record.tracking_id, place.path, under=under)
        tracker.log_text(record.tracking_id, metrics_table(evaluations), path=f"{under}/metrics.csv")
    return EvaluatedOn(
        record=with_looks_on(run, on.dataset.folder),
        dataset=on.dataset.folder,
        root=root,
        num_frames=on.frames.num_frames,
        frame_recipe=on.frames.hash,
        notes=dataset.summary.notes,
        frames=frames,
        evaluations=evaluations,
        place=place,
    )


def _imported(on: Experiment, workspace: Workspace, report: Report, *, has_captions: bool) -> ImportedDataset:
    """The dataset, as its card reads it or, where nothing of a folder of frames says the split, as test."""
    is_held_out = on.dataset.name == "frames" and (has_captions or names_no_split(Path(on.dataset.root)))
    return import_dataset(on, workspace, report, read=read_held_out if is_held_out else None)


def _score(
    run: RunFolder,
    trained: Experiment,
    on: Experiment,
    workspace: Workspace,
    options: EvaluateOptions,
    *,
    names: tuple[EvaluationName, ...],
    report: Report,
) -> Iterator[EvaluationRecord]:
    """Embed and rank: in a Ray task where the GPUs are, else here."""
    if not names:
        return
    label = run.read().label

    def tell(what: str) -> None:
        report(Activity(stage="evaluate", subject=label, doing=what))

    task = ScoreTask(
        path=str(run.path),
        settings=on.to_dict(),
        source=data_source(on, workspace, has_supplements=False),
        options=options,
        names=names,
        subsets={},
    )
    dependencies = OtherDependencies(run, on, workspace, options)
    depends_on = {name: dependencies.of(name).to_dict() for name in names}  # before anything is read
    tell(f"scoring {', '.join(map(str, names))} of {on.dataset.folder}")
    if on.ray.use_gpu:
        connect(workspace.logs, report)
    for scored in score_on_ray(task, needs(on)["evaluate"], tell) if on.ray.use_gpu else score_each(task):
        seen = seen_videos(trained, on, workspace, split=scored.split)
        about = {"seen": {one.split: sorted(one.by_id | one.by_file) for one in seen or ()}}
        yield dataclasses.replace(
            scored,
            depends_on=depends_on[scored.name],
            completeness=completeness_on(trained, on, workspace, split=scored.split),
            shared=seen_notes(seen),
            settings={**scored.settings, "on": about},
        )


def _described(scored: EvaluationRecord, on: Experiment, *, frames: IngestSummary, looks: int) -> EvaluationRecord:
    """With what tells it from a number of the run's own dataset."""
    about = {
        **scored.settings["on"],
        "dataset": on.dataset.folder,
        "root": on.dataset.root,
        "num_frames": on.frames.num_frames,
        "num_padded": frames.padded,
        "test_looks": looks,
    }
    videos = "video" if frames.padded == 1 else "videos"
    padded = f", in {frames.padded:,} {videos} the last one repeated" if frames.padded else ""
    note = f"on {on.dataset.root}, {on.frames.num_frames} frames a video{padded}"
    return dataclasses.replace(
        scored,
        settings={**scored.settings, "on": about},
        note="; ".join(filter(None, (scored.note, note))),
    )

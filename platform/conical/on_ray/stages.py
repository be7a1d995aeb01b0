"""Bring a dataset into the workspace: manifest, frames, supplements. Each step does only what is missing."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

from conical import datasets
from conical.captioning import CaptionerCard, describe_captioner
from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.records import DatasetSummary, VideoRecord
from conical.datasets.scenes import generate_scenes
from conical.on_ray.caption import CaptionSummary, run_captioning
from conical.on_ray.ingest import IngestSummary, run_ingest
from conical.on_ray.progress import Progress, Report, no_report
from conical.on_ray.session import connect
from conical.store import (
    CaptionLedger,
    DatasetBook,
    FrameStore,
    Workspace,
    manifest_hash,
    read_manifest,
    write_dataset_book,
    write_manifest,
)
from conical.video.recipe import FrameRecipe


def import_dataset(
    experiment: Experiment, workspace: Workspace, report: Report = no_report
) -> tuple[list[VideoRecord], DatasetSummary]:
    """Read the dataset's own files into the manifest; `scenes` is generated first if absent.

    Raises:
        DataError: files are missing or contradict themselves.
    """
    options = experiment.dataset
    root = dataset_root(experiment, workspace)
    if options.name == "scenes":
        generate_scenes(
            root,
            options.scenes,
            num_processes=os.cpu_count() or 1,
            report=lambda done, total: report(
                Progress(stage="scenes", done=done, total=total, unit="videos", note="generated")
            ),
        )
    records, summary = datasets.read_dataset(options.name, root, allow_missing=options.allow_missing, **options.reader)
    manifest = workspace.manifest(options.folder)
    content = manifest_hash(records)
    if not manifest.is_file() or manifest_hash(read_manifest(manifest)) != content:
        write_manifest(manifest, records)
    book = DatasetBook(summary=summary, root=str(root), reader=options.reader, manifest_hash=content)
    write_dataset_book(workspace.dataset_book(options.folder), book)
    return records, summary


def dataset_root(experiment: Experiment, workspace: Workspace) -> Path:
    """Folder that the manifest's relative addresses start from."""
    if experiment.dataset.root:
        return Path(experiment.dataset.root).expanduser().absolute()
    return workspace.dataset(experiment.dataset.folder) / "source"


def ingest(
    experiment: Experiment,
    workspace: Workspace,
    report: Report = no_report,
    *,
    recipe: FrameRecipe | None = None,
    stage: str = "ingest",
    verify: bool = False,
    retry_failed: bool = False,
) -> IngestSummary:
    """Decode the frames of every video that has none yet.

    Args:
        experiment: names the dataset and, unless `recipe` is given, the frame recipe.
        workspace: where the frames go.
        report: told after each chunk of videos.
        recipe: another recipe, such as the captioner's.
        stage: what progress is called.
        verify: hash the files of all videos that have frames, and decode anew what has changed.
        retry_failed: try all videos again that were set aside.
    """
    records, _ = import_dataset(experiment, workspace, report)
    recipe = recipe or experiment.frames
    store = FrameStore(
        workspace.frames(experiment.dataset.folder, recipe.hash),
        recipe=dataclasses.asdict(recipe),
        recipe_hash=recipe.hash,
    )
    return run_ingest(
        records,
        root=dataset_root(experiment, workspace),
        recipe=recipe,
        store=store,
        deadline_seconds=experiment.ray.decode_deadline_seconds,
        connect=partial(connect, workspace.logs),
        verify=verify,
        retry_failed=retry_failed,
        report=report,
        stage=stage,
    )


def prepare(experiment: Experiment, workspace: Workspace, report: Report = no_report) -> None:
    """All that a run or a sweep of this experiment reads: frames, and supplements where mix or a protocol takes one."""
    ingest(experiment, workspace, report)
    is_mixed = set(experiment.mix.sources()) != {HUMAN} or "mix" in experiment.tune.space
    if is_mixed or experiment.evaluate.supplement_prompts:
        caption(experiment, workspace, report)


def caption(experiment: Experiment, workspace: Workspace, report: Report = no_report) -> CaptionSummary:
    """Write the supplements that are missing; the captioner's own frames are ingested first."""
    card = describe_captioner(experiment.captions)
    recipe = captioner_recipe(experiment, card)
    ingest(experiment, workspace, report, recipe=recipe, stage="caption frames")
    records, _ = import_dataset(experiment, workspace, report)
    return run_captioning(
        records,
        frames=FrameStore.open(workspace.frames(experiment.dataset.folder, recipe.hash)),
        ledger=CaptionLedger(workspace.captions(experiment.dataset.folder)),
        options=experiment.captions,
        num_actors=experiment.ray.num_captioners,
        gpus_per_actor=1 if experiment.ray.use_gpu else 0,
        connect=partial(connect, workspace.logs),
        report=lambda done, total: report(Progress(stage="caption", done=done, total=total, unit="captions")),
    )


def captioner_recipe(experiment: Experiment, card: CaptionerCard) -> FrameRecipe:
    """The frames a captioner watches: its own number and size, sampled uniformly; zeros mean "as the encoder's"."""
    num_frames, size = card.frame_recipe_request
    return dataclasses.replace(
        experiment.frames,
        num_frames=num_frames or experiment.frames.num_frames,
        size=size or experiment.frames.size,
        sampler="uniform",
    )

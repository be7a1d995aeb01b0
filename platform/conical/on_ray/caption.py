"""Captions on a pool of actors: from a frame store into the ledger.

    1. units       chunks of the complete, sorted list of clips, so that a re-run forms the very same batches
    2. actor       per prompt and sample one batch of the whole unit; what is missing goes into one part of the ledger
    3. driver      receives counts only

A killed actor is started again by Ray and repeats its unit. Since a batch is always captioned whole and with the same
neighbours, the rounding of a batched product cannot make a resumed run differ from an undisturbed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from conical.captioning import CaptionerCard, CaptionOptions, describe_captioner
from conical.config import Experiment
from conical.core.errors import ConfigError
from conical.core.progress import Activity, Progress, Report, no_report
from conical.core.records import VideoRecord
from conical.library.importing import ImportedDataset, import_dataset
from conical.on_ray.caption_worker import CaptionUnit, CaptionWorker
from conical.on_ray.ingest import ingest
from conical.on_ray.pool import run_units
from conical.on_ray.session import connect as connect_to_ray
from conical.runs.supplements import captioner_recipe, rows_of_clips
from conical.store import CaptionLedger, FrameStore, Workspace


@dataclass(frozen=True, kw_only=True)
class CaptionSummary:
    """What a caption run did, in texts: `ok + failed + skipped + skipped_without_frames` are all texts asked for.

    Args:
        failed: texts that the captioner could not write, kept as failures.
        skipped: texts that were in the ledger already.
        skipped_without_frames: texts of clips that ingest has set aside.
        truncated: texts among `ok` that met the token limit.
        captions_per_second: `ok + failed` by `seconds`.
    """

    ok: int
    failed: int
    skipped: int
    skipped_without_frames: int
    truncated: int
    seconds: float
    captions_per_second: float


def caption(
    experiment: Experiment,
    workspace: Workspace,
    report: Report = no_report,
    *,
    dataset: ImportedDataset | None = None,
) -> CaptionSummary:
    """Write the supplements that are missing; the captioner's own frames are ingested first.

    Args:
        experiment: names the dataset, the captioner and its prompts.
        workspace: holds the dataset, takes frames and supplements.
        report: told after each unit.
        dataset: the dataset, if this command has imported it already.

    Raises:
        UserError: as `ingest` and `run_captioning`.
    """
    dataset = dataset or import_dataset(experiment, workspace, report)
    recipe = captioner_recipe(experiment, describe_captioner(experiment.captions))
    ingest(experiment, workspace, report, dataset=dataset, recipe=recipe, stage="caption frames")

    def connect() -> None:
        connect_to_ray(workspace.logs, report)
        report(Activity(stage="caption", doing="loading the captioner"))

    return run_captioning(
        dataset.records,
        frames=FrameStore.open(workspace.frames(experiment.dataset.folder, recipe.hash)),
        ledger=CaptionLedger(workspace.captions(experiment.dataset.folder)),
        options=experiment.captions,
        num_actors=experiment.ray.num_captioners,
        gpus_per_actor=1 if experiment.ray.use_gpu else 0,
        connect=connect,
        report=lambda done, total: report(Progress(stage="caption", done=done, total=total, unit="captions")),
        wait_report=report,
    )


def run_captioning(
    records: Sequence[VideoRecord],
    *,
    frames: FrameStore,
    ledger: CaptionLedger,
    options: CaptionOptions,
    num_actors: int = 1,
    gpus_per_actor: float = 0,
    cpus_per_actor: float = 1,
    connect: Callable[[], None] | None = None,
    report: Callable[[int, int], None] | None = None,
    wait_report: Report = no_report,
) -> CaptionSummary:
    """Write the texts that the ledger lacks.

    Args:
        records: the complete list of clips; a part of it would form other batches.
        frames: their frames, ingested as the captioner's card asks.
        ledger: where the texts go.
        options: captioner, prompts, samples, generation.
        num_actors: copies of the model.
        gpus_per_actor: GPUs of each, may be a fraction.
        cpus_per_actor: CPU cores of each, may be a fraction.
        connect: called before Ray is first needed; None: Ray is running.
        report: called with (texts written, texts in all), those of earlier runs included, at the start and as units
            finish.
        wait_report: told what the first actor waits for.

    Returns:
        Counts and speed.

    Raises:
        ConfigError: the captioner does not fit its options or the frames.
        ClusterError: an endpoint is away, or an actor dies again and again; finished units are kept.
    """
    started = time.monotonic()
    card = describe_captioner(options)
    _check_recipe(frames, card)
    ledger.settle()
    plan = _plan(records, frames=frames, ledger=ledger, options=options, card=card)
    to_do = sum(len(unit.missing) for unit in plan.units)
    counts = {"ok": 0, "failed": 0, "truncated": 0}
    if report is not None and plan.skipped + to_do:
        report(plan.skipped, plan.skipped + to_do)
    if plan.units:
        if connect is not None:
            connect()
        results = run_units(
            CaptionWorker,
            [unit.to_unit() for unit in plan.units],
            arguments={
                "options": options,
                "card": card,
                "frames": frames,
                "ledger": ledger,
                "num_threads": max(1, int(cpus_per_actor)),
            },
            stage="caption",
            lower="captions.batch_size or ray.num_captioners",
            run=f"{frames.path.parent.parent.name} by {card.name}",
            max_actors=num_actors,
            cpus_per_actor=cpus_per_actor,
            gpus_per_actor=gpus_per_actor,
            report=wait_report,
        )
        for result in results:
            counts = {name: number + int(result[name]) for name, number in counts.items()}
            if report is not None:
                report(plan.skipped + counts["ok"] + counts["failed"], plan.skipped + to_do)
    assert counts["ok"] + counts["failed"] == to_do, (counts, to_do)
    assert to_do + plan.skipped + plan.skipped_without_frames == plan.total
    seconds = time.monotonic() - started
    return CaptionSummary(
        **counts,
        skipped=plan.skipped,
        skipped_without_frames=plan.skipped_without_frames,
        seconds=seconds,
        captions_per_second=to_do / seconds,
    )


def _check_recipe(frames: FrameStore, card: CaptionerCard) -> None:
    stored = frames.recipe.get("num_frames")
    if card.num_frames and stored != card.num_frames:
        raise ConfigError(
            f"captioner {card.name} watches exactly {card.num_frames} frames per clip, but the frame store holds "
            f"{stored}: ingest with num_frames = {card.num_frames} for it"
        )


@dataclass(kw_only=True)
class _Plan:
    units: list[CaptionUnit] = field(default_factory=list)
    total: int = 0
    skipped: int = 0
    skipped_without_frames: int = 0


def _plan(
    records: Sequence[VideoRecord],
    *,
    frames: FrameStore,
    ledger: CaptionLedger,
    options: CaptionOptions,
    card: CaptionerCard,
) -> _Plan:
    plan = _Plan()
    texts_a_clip = len(options.prompts) * options.samples
    watched, written = set(frames.video_ids()), ledger.keys()
    ordered = sorted(records, key=lambda record: record.video_id)
    for start in range(0, len(ordered), options.batch_size):
        chunk = ordered[start : start + options.batch_size]
        present = [record for record in chunk if record.video_id in watched]
        clips = tuple((record.video_id, record.uri, record.captions) for record in present)
        keys = [row.key for rows in rows_of_clips(clips, options=options, card=card, frames=frames) for row in rows]
        missing = tuple(key for key in keys if key not in written)
        plan.total += len(chunk) * texts_a_clip
        plan.skipped_without_frames += (len(chunk) - len(present)) * texts_a_clip
        plan.skipped += len(keys) - len(missing)
        if missing:
            plan.units.append(CaptionUnit(clips=clips, missing=missing))
    return plan

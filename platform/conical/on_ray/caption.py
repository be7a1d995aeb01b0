"""Captions on a pool of actors: from a frame store into the ledger.

    1. units       chunks of the complete, sorted list of clips, so that a re-run forms the very same batches
    2. actor       per prompt and sample one batch of the whole unit; what is missing goes into one part of the ledger
    3. driver      receives counts only, and ends with an error where most texts of a prompt failed

A killed actor is started again by Ray and repeats its unit. Since a batch is always captioned whole and with the same
neighbours, the rounding of a batched product cannot make a resumed run differ from an undisturbed one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from conical.captioning import CaptionerCard, CaptionOptions, CaptionRow, describe_captioner
from conical.config import Experiment
from conical.core.errors import ConfigError, DataError
from conical.core.hashing import stable_hash
from conical.core.progress import Activity, Progress, Report, no_report
from conical.core.records import FailedCaption, VideoRecord
from conical.library.importing import ImportedDataset, import_dataset
from conical.on_ray.caption_worker import CaptionUnit, CaptionWorker, failure_of
from conical.on_ray.ingest import ingest
from conical.on_ray.pool import run_units
from conical.on_ray.session import connect as connect_to_ray
from conical.runs.supplements import captioner_recipe, failure_reasons, rows_of_clips
from conical.store import CaptionLedger, FrameStore, Workspace

# of a prompt: above it captioning as a whole has failed
_MOST_FAILED = 0.5


@dataclass(frozen=True, kw_only=True)
class CaptionSummary:
    """What a caption run did, in texts.

    `ok + failed + skipped + skipped_failed + skipped_without_frames` are all texts asked for.

    Args:
        failed: texts that could not be written now.
        skipped: texts that were in the ledger already.
        skipped_failed: texts that could not be written before and were not tried again.
        skipped_without_frames: texts of clips that ingest has set aside.
        truncated: texts among `ok` that met the token limit.
        failures: all texts that are missing now, with the reasons; `failed + skipped_failed` of them.
        asked: texts of clips with frames, by prompt.
        captions_per_second: `ok + failed` by `seconds`.
    """

    ok: int
    failed: int
    skipped: int
    skipped_failed: int
    skipped_without_frames: int
    truncated: int
    failures: tuple[FailedCaption, ...] = field(repr=False)
    asked: Mapping[str, int]
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
        DataError: most texts of a prompt could not be written; those that were are kept.
        UserError: as `ingest` and `run_captioning`.
    """
    dataset = dataset or import_dataset(experiment, workspace, report)
    recipe = captioner_recipe(experiment, describe_captioner(experiment.captions))
    ingest(experiment, workspace, report, dataset=dataset, recipe=recipe, stage="caption frames")

    def connect() -> None:
        connect_to_ray(workspace.logs, report)
        report(Activity(stage="caption", doing="loading the captioner"))

    ledger = CaptionLedger(workspace.captions(experiment.dataset.folder))
    summary = run_captioning(
        dataset.records,
        frames=FrameStore.open(workspace.frames(experiment.dataset.folder, recipe.hash)),
        ledger=ledger,
        options=experiment.captions,
        num_actors=experiment.ray.num_captioners,
        gpus_per_actor=1 if experiment.ray.use_gpu else 0,
        connect=connect,
        report=report,
    )
    refuse_mostly_failed(summary, ledger, allowed=experiment.captions.max_missing)
    return summary


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
    report: Report = no_report,
) -> CaptionSummary:
    """Write the texts that the ledger lacks, those that failed before among them unless the options say otherwise.

    Args:
        records: the complete list of clips; a part of it would form other batches.
        frames: their frames, ingested as the captioner's card asks.
        ledger: where the texts go.
        options: captioner, prompts, samples, generation.
        num_actors: copies of the model.
        gpus_per_actor: GPUs of each, may be a fraction.
        cpus_per_actor: CPU cores of each, may be a fraction.
        connect: called before Ray is first needed; None: Ray is running.
        report: told of the texts there are, those of earlier runs included, at the start and as units finish, and of
            what the first actor waits for.

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
    ledger.write_failures("unaskable", plan.unaskable, asked={failure.key for failure in plan.unaskable})
    counts = Counter({"ok": 0, "failed": len(plan.unaskable), "truncated": 0})
    to_do = sum(len(unit.missing) for unit in plan.units) + len(plan.unaskable)

    def tell() -> None:
        note = f"{counts['failed']} failed" if counts["failed"] else ""
        done, total = plan.skipped + counts["ok"] + counts["failed"], plan.skipped + to_do
        if total:
            report(Progress(stage="caption", done=done, total=total, unit="captions", note=note))

    tell()
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
            report=report,
        )
        for result in results:
            counts.update(result)
            tell()
    assert counts["ok"] + counts["failed"] == to_do, (counts, to_do)
    seconds = time.monotonic() - started
    failures = tuple(failure for failure in ledger.failures() if failure.key in plan.keys)
    assert len(failures) == counts["failed"] + plan.skipped_failed, (len(failures), counts, plan.skipped_failed)
    return CaptionSummary(
        **counts,
        skipped=plan.skipped,
        skipped_failed=plan.skipped_failed,
        skipped_without_frames=plan.skipped_without_frames,
        failures=failures,
        asked=plan.asked,
        seconds=seconds,
        captions_per_second=to_do / seconds,
    )


def refuse_mostly_failed(summary: CaptionSummary, ledger: CaptionLedger, *, allowed: float = 0.0) -> None:
    """End with an error where captioning did not work, whatever it left in the ledger.

    Args:
        allowed: share of a prompt's texts that may be missing, where that is more than half.

    Raises:
        DataError: more than half of the texts of a prompt could not be written, and more than is allowed.
    """
    for prompt_id, asked in summary.asked.items():
        failed = [failure for failure in summary.failures if failure.prompt_id == prompt_id]
        if len(failed) > max(_MOST_FAILED, allowed) * asked:
            raise DataError(
                f"{len(failed)} of {asked} texts of prompt {prompt_id} failed: {failure_reasons(failed)}; mend it and "
                f"run conical caption again, which tries failed texts again; what was written is kept in {ledger.path}"
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
    unaskable: list[FailedCaption] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    skipped: int = 0
    skipped_failed: int = 0
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
    watched, written = set(frames.video_ids()), ledger.keys()
    given_up = set() if options.retry_failed else {failure.key for failure in ledger.failures()}
    ordered = sorted(records, key=lambda record: record.video_id)
    for start in range(0, len(ordered), options.batch_size):
        chunk = ordered[start : start + options.batch_size]
        present = [record for record in chunk if record.video_id in watched]
        clips = tuple((record.video_id, record.uri, record.captions) for record in present)
        rows = [row for of_clip in rows_of_clips(clips, options=options, card=card, frames=frames) for row in of_clip]
        plan.skipped_without_frames += (len(chunk) - len(present)) * len(options.prompts) * options.samples
        plan.skipped += sum(row.key in written for row in rows)
        plan.skipped_failed += sum(row.key in given_up for row in rows)
        plan.asked.update(row.prompt.id for row in rows)
        plan.keys.update(row.key for row in rows)
        wanted = [row for row in rows if row.key not in written and row.key not in given_up]
        plan.unaskable += [failure_of(row, row.error) for row in wanted if row.error]
        if missing := tuple(row.key for row in wanted if not row.error):
            plan.units.append(CaptionUnit(name=_unit_name(rows), clips=clips, missing=missing))
    return plan


def _unit_name(rows: Sequence[CaptionRow]) -> str:
    # from all keys, so that a repeated unit, and one that tries failures again, replaces its own files
    return f"captions-{stable_hash(sorted(row.key for row in rows))}"

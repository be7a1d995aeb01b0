"""Which supplements an experiment reads: the captioner's frames, the rows it writes, their keys in the ledger."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from conical.captioning import CaptionerCard, CaptionOptions, CaptionRow, caption_rows, describe_captioner
from conical.config import Experiment
from conical.core.errors import ConfigError, DataError
from conical.core.records import FailedCaption, SupplementCount, VideoRecord
from conical.store import CaptionLedger, FrameStore, Workspace, read_manifest
from conical.video.recipe import FrameRecipe

_MOST_KINDS = 3  # of failures that a message names


def captioner_recipe(experiment: Experiment, card: CaptionerCard) -> FrameRecipe:
    """The frames a captioner watches: its own number and size, sampled uniformly; zeros mean "as the encoder's"."""
    num_frames, size = card.frame_recipe_request
    return dataclasses.replace(
        experiment.frames,
        num_frames=num_frames or experiment.frames.num_frames,
        size=size or experiment.frames.size,
        sampler="uniform",
    )


def rows_of_clips(
    clips: Sequence[tuple[str, str, tuple[str, ...]]],
    *,
    options: CaptionOptions,
    card: CaptionerCard,
    frames: FrameStore,
) -> list[list[CaptionRow]]:
    """Caption rows of each clip; position j in each list is the same prompt and sample.

    Args:
        clips: video id, uri and human captions of each.
        options: prompts, samples and generation settings.
        frames: the frames it watches; holds every clip.
    """
    fingerprints = frames.fingerprints()
    return [
        caption_rows(
            video_id,
            captions,
            options=options,
            card=card,
            frame_recipe=frames.recipe_hash,
            clip=fingerprints[video_id],
        )
        for video_id, _, captions in clips
    ]


def planned_rows(experiment: Experiment, records: Sequence[VideoRecord], frames: FrameStore) -> list[CaptionRow]:
    """All rows that captioning writes for the videos that the captioner has frames of.

    Args:
        experiment: names captioner and prompts.
        frames: the captioner's frames.
    """
    watched = frames.video_ids()
    clips = [(record.video_id, record.uri, record.captions) for record in records if record.video_id in watched]
    card = describe_captioner(experiment.captions)
    return [row for rows in rows_of_clips(clips, options=experiment.captions, card=card, frames=frames) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Supplements:
    """The supplements that a run or an evaluation reads.

    Args:
        keys: of all texts asked for, in every split; those that failed have no row in the ledger.
        counts: texts asked for and written in the splits that were asked about, by prompt.
    """

    keys: frozenset[str] = frozenset()
    counts: tuple[SupplementCount, ...] = ()


def find_supplements(
    experiment: Experiment, workspace: Workspace, wanted: Collection[str], *, splits: Collection[str]
) -> Supplements:
    """The supplements of the wanted prompts. A few may be missing, which every number then says.

    Args:
        wanted: ids of prompts.
        splits: whose missing texts matter.

    Raises:
        ConfigError: a prompt is not captioned.
        DataError: a supplement was never tried; or of a prompt none was written, or more are missing than
            `captions.max_missing` allows.
    """
    if not wanted:
        return Supplements()
    unknown = sorted(set(wanted) - set(experiment.captions.prompts))
    if unknown:
        raise ConfigError(
            f"mix takes supplements of prompt {', '.join(unknown)}, but captions.prompts is "
            f"{', '.join(experiment.captions.prompts)}: add the prompt or set its share to 0"
        )
    folder = experiment.dataset.folder
    card = describe_captioner(experiment.captions)
    path = workspace.frames(folder, captioner_recipe(experiment, card).hash)
    if not (path / "card.json").is_file():
        raise DataError(f"dataset {folder!r} has no supplements in {workspace.root}: run caption first")
    records = read_manifest(workspace.manifest(folder))
    rows = [row for row in planned_rows(experiment, records, FrameStore.open(path)) if row.prompt.id in wanted]
    keys = frozenset(row.key for row in rows)
    ledger = CaptionLedger(workspace.captions(folder))
    written = ledger.keys()
    failed = {failure.key: failure for failure in ledger.failures()}
    untried = len(keys - written - failed.keys())
    if untried:
        raise DataError(
            f"{untried} of {len(keys)} supplements of prompt {', '.join(sorted(wanted))} are not written: "
            "run caption first"
        )
    videos = {record.video_id for record in records if record.split in splits}
    counts = []
    for prompt in sorted(wanted):
        asked = [row.key for row in rows if row.prompt.id == prompt and row.video_id in videos]
        missing = [failed[key] for key in asked if key not in written]
        count = SupplementCount(prompt_id=prompt, asked=len(asked), written=len(asked) - len(missing))
        _refuse_missing(count, missing, splits=splits, max_missing=experiment.captions.max_missing)
        counts.append(count)
    return Supplements(keys=keys, counts=tuple(counts))


def _refuse_missing(
    count: SupplementCount, missing: Sequence[FailedCaption], *, splits: Collection[str], max_missing: float
) -> None:
    if not missing or (count.written and len(missing) <= max_missing * count.asked):
        return
    allowed = f", or allow more to be missing (captions.max_missing, now {max_missing:g})" if count.written else ""
    raise DataError(
        f"{len(missing)} of {count.asked} supplements of prompt {count.prompt_id} in {', '.join(splits)} failed: "
        f"{failure_reasons(missing)}; mend it and run conical caption again, which tries failed texts again{allowed}"
    )


def failure_reasons(failures: Sequence[FailedCaption]) -> str:
    """Why texts failed, in words: the most frequent kinds, each with its number and a reason of it.

    >>> row = {"video_id": "v", "prompt_id": "B", "sample": 0}
    >>> failure_reasons([FailedCaption(key=key, reason="server answered 400: no", **row) for key in "ab"])
    '2x server answered 400: no'
    """
    kinds = Counter(failure.kind for failure in failures)
    words = []
    for kind, number in kinds.most_common(_MOST_KINDS):
        reasons = Counter(failure.reason for failure in failures if failure.kind == kind)
        reason = reasons.most_common(1)[0][0]
        words.append(
            f"{number}x {reason}" if len(reasons) == 1 else f"{number}x {kind}, such as{reason[len(kind) + 1 :]}"
        )
    others = sum(number for _, number in kinds.most_common()[_MOST_KINDS:])
    return "; ".join(words) + (f"; {others}x for other reasons" if others else "")

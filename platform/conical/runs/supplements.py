"""Which supplements an experiment reads: the captioner's frames, the rows it writes, their keys in the ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from conical.captioning import CaptionerCard, CaptionOptions, CaptionRow, caption_rows, describe_captioner
from conical.config import Experiment
from conical.core.errors import ConfigError, DataError
from conical.core.records import VideoRecord
from conical.store import CaptionLedger, FrameStore, Workspace, read_manifest
from conical.video.recipe import FrameRecipe


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


def supplement_keys(experiment: Experiment, workspace: Workspace, wanted: set[str]) -> frozenset[str]:
    """Keys of all supplements of the wanted prompts, each found in the ledger.

    Raises:
        ConfigError: a prompt is not captioned.
        DataError: a supplement was not written.
    """
    unknown = sorted(wanted - set(experiment.captions.prompts))
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
    rows = planned_rows(experiment, read_manifest(workspace.manifest(folder)), FrameStore.open(path))
    keys = frozenset(row.key for row in rows if row.prompt.id in wanted)
    missing = len(keys - CaptionLedger(workspace.captions(folder)).keys())
    if missing:
        raise DataError(
            f"{missing} of {len(keys)} supplements of prompt {', '.join(sorted(wanted))} are not written: "
            "run caption first"
        )
    return keys

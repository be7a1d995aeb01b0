"""One video of a dataset as a contact sheet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from conical.config import Experiment
from conical.core.atomic import atomic_path
from conical.core.errors import DataError, StoreError
from conical.core.options import did_you_mean
from conical.core.records import SampledFrames, VideoRecord
from conical.datasets import confined_path
from conical.library.opening import DatasetView, open_dataset
from conical.reports.data_looks.contact_sheet import ContactSheet, draw_contact_sheet
from conical.store import CaptionLedger, Workspace
from conical.video import DecodeProcess, local_media

_SHOWN_SIZE_PX = 224  # of a video that is decoded to be looked at


@dataclass(frozen=True, kw_only=True)
class ShownVideo:
    """Where a sheet is.

    Args:
        undrawable: characters of its texts that no installed font has.
    """

    path: Path
    undrawable: str


def show_video(
    workspace: Workspace, name: str, video_id: str, experiment: Experiment, *, out: Path | None = None
) -> ShownVideo:
    """Draw a video's frames and texts.

    Args:
        name: of the dataset, or enough of the beginning.
        experiment: whose frames are preferred, and whose recipe samples a video that was not ingested.
        out: the PNG; None: `sheets/<video_id>.png` in the dataset's folder.

    Returns:
        Where it is, and what could not be drawn.

    Raises:
        DataError: no such dataset or video, or the video has neither frames nor a file.
        DecodeError: the file cannot be decoded.
        StoreError: the picture cannot be written.
    """
    view = open_dataset(workspace, name, recipe_hash=experiment.frames.hash)
    record = _record(view, video_id)
    frames, origin = _frames(view, record, experiment)
    supplements = [
        f"{row.prompt_id}: {row.text}"
        for row in CaptionLedger(workspace.captions(view.folder)).records()
        if row.video_id == video_id
    ]
    texts = {"Captions": record.captions} | ({"Supplements": tuple(supplements)} if supplements else {})
    facts = _facts(record, frames, origin)
    sheet = ContactSheet(video_id=video_id, facts=facts, frames=frames, texts=texts)
    drawing, undrawable = draw_contact_sheet(sheet)
    path = out or workspace.dataset(view.folder) / "sheets" / f"{video_id}.png"
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(drawing.png)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}): choose another place with --out") from error
    return ShownVideo(path=path, undrawable=undrawable)


def _record(view: DatasetView, video_id: str) -> VideoRecord:
    for record in view.records:
        if record.video_id == video_id:
            return record
    hint = did_you_mean(video_id, [record.video_id for record in view.records])
    example = view.records[0].video_id if view.records else "none"
    raise DataError(
        f"video {video_id!r} is not among the {len(view.records):,} of {view.folder}, such as {example!r}.{hint}"
    )


def _frames(view: DatasetView, record: VideoRecord, experiment: Experiment) -> tuple[SampledFrames, str]:
    """Frames, and where they come from in words."""
    store = view.frames
    if store is not None and record.video_id in store.video_ids():
        return store.read(record.video_id), f"frames as stored, recipe {store.recipe_hash}"
    if not record.uri:
        raise DataError(f"video {record.video_id!r} has no file: get it, then import the dataset again")
    path = confined_path(view.root, record.uri)
    recipe = dataclasses.replace(experiment.frames, size=_SHOWN_SIZE_PX)
    deadline = experiment.ray.decode_deadline_seconds
    with local_media(path) as media, DecodeProcess(recipe, deadline_seconds=deadline) as process:
        frames = process.sample(media, start_seconds=record.start_seconds, end_seconds=record.end_seconds)
    return frames, "frames decoded now, not stored"


def _facts(record: VideoRecord, frames: SampledFrames, origin: str) -> tuple[str, ...]:
    facts = [f"split {record.split}"]
    if record.source_id:
        facts.append(f"source {record.source_id}")
    facts.append(record.uri or "no file")
    if record.start_seconds or record.end_seconds is not None:
        end = "its end" if record.end_seconds is None else f"{record.end_seconds:.2f} s"
        facts.append(f"from {record.start_seconds:.2f} s to {end}")
    facts += [origin, f"decoder {frames.decoder}"]
    if frames.is_padded:
        facts.append("fewer frames than asked for: the last one is repeated")
    return tuple(facts)

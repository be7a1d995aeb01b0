"""A workspace with frames, supplements and a finished run, made without Ray, a captioner or training."""

from __future__ import annotations

from pathlib import Path

from conical.captioning import describe_captioner
from conical.config import Experiment, load_experiment
from conical.core.records import CaptionRecord, FailedCaption
from conical.models.dual_encoder import build_dual_encoder
from conical.models.weight_files import save_encoder
from conical.runs.identity import identify
from conical.runs.log import RunLog, open_tracker
from conical.runs.supplements import captioner_recipe, rows_of_clips
from conical.store import CaptionLedger, FrameStore, RunFolder, Workspace, read_manifest
from ingested_stores import write_stores

SIZES = {"train": 8, "val": 6, "test": 8}


def small_experiment(small_clip, *overrides: str) -> Experiment:
    return load_experiment(
        None,
        [
            f"model.name={small_clip.name}",
            f"model.weights={small_clip.weights}",
            "frames.size=32",
            "frames.num_frames=3",
            "mix={human=1.0, A=0.0, B=0.0}",
            "optim.epochs=0",
            "evaluate.num_resamples=100",
            *overrides,
        ],
    )


class RecordingTracker:
    """What a run would be told, without a database."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def tag(self, run_id: str, tags: dict[str, str]) -> None:
        self.tags |= tags

    def log(self, run_id: str, rows: object) -> None:
        pass

    def log_files(self, run_id: str, folder: Path, *, under: str) -> None:
        pass

    def log_text(self, run_id: str, text: str, *, path: str) -> None:
        pass


def write_workspace(experiment: Experiment, root: Path) -> Workspace:
    """Manifest, frames for the encoder and for the captioner, supplements of all prompts."""
    workspace = Workspace.open(root)
    write_stores(experiment, workspace, SIZES)
    card = describe_captioner(experiment.captions)
    recipe = captioner_recipe(experiment, card)
    # the captioner's own frames: the same clips by another recipe
    write_stores(
        experiment.replace({"frames.num_frames": recipe.num_frames, "frames.size": recipe.size}), workspace, SIZES
    )
    write_supplements(experiment, workspace)
    return workspace


def write_supplements(experiment: Experiment, workspace: Workspace) -> None:
    """A supplement of each prompt for each clip that the captioner has frames of."""
    card = describe_captioner(experiment.captions)
    folder = experiment.dataset.folder
    frames = FrameStore.open(workspace.frames(folder, captioner_recipe(experiment, card).hash))
    records = [one for one in read_manifest(workspace.manifest(folder)) if one.video_id in frames.video_ids()]
    clips = [(record.video_id, record.uri, record.captions) for record in records]
    rows = rows_of_clips(clips, options=experiment.captions, card=card, frames=frames)
    captions = {record.video_id: record.captions[0] for record in records}
    CaptionLedger(workspace.captions(folder)).write_part(
        "0",
        [
            CaptionRecord(
                key=row.key,
                video_id=row.video_id,
                prompt_id=row.prompt.id,
                prompt_hash=row.prompt.hash,
                sample=row.sample,
                text=f"prompt {row.prompt.id} says {captions[row.video_id]}",
                captioner=card.name,
                model=card.model,
                revision=card.revision,
                frame_recipe=frames.recipe_hash,
                generation="{}",
                tokens_out=5,
                truncated=False,
                seconds=0.0,
            )
            for of_clip in rows
            for row in of_clip
        ],
    )


def write_run(experiment: Experiment, workspace: Workspace) -> RunFolder:
    """A finished run of the model as it was loaded."""
    identity = identify(experiment, workspace)
    log = RunLog(identity, experiment, open_tracker(experiment, workspace))
    save_encoder(build_dual_encoder(experiment.model), identity.folder.encoder)
    log.end("finished")
    return identity.folder


def lose_supplements(
    experiment: Experiment,
    workspace: Workspace,
    *,
    prompts: tuple[str, ...] = ("B",),
    split: str = "train",
    number: int | None = None,
    reason: str = "refusal: no",
    is_tried: bool = True,
) -> None:
    """Take the texts of prompts away, of the first `number` videos of a split, as if the captioner had failed on them.

    Args:
        number: None: of all videos, whatever their split.
        is_tried: false: as if they had never been asked for.
    """
    ledger = CaptionLedger(workspace.captions(experiment.dataset.folder))
    rows = ledger.records()
    videos = sorted({row.video_id for row in rows if number is None or row.video_id.startswith(split)})[:number]
    lost = [row for row in rows if row.prompt_id in prompts and row.video_id in videos]
    for part in ledger.path.glob("part*"):
        part.unlink()
    ledger.write_part("1", [row for row in rows if row not in lost])
    failures = [
        FailedCaption(key=row.key, video_id=row.video_id, prompt_id=row.prompt_id, sample=row.sample, reason=reason)
        for row in lost
    ]
    ledger.write_failures("lost", failures if is_tried else [], asked={row.key for row in lost})

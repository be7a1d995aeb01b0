"""Another dataset than a run was trained on: how it is read, what the run saw of it, what its numbers depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conical.config import Experiment
from conical.core.errors import ConfigError, DataError, ProtocolError
from conical.core.options import require
from conical.core.records import SplitCount, VideoRecord
from conical.datasets.options import DatasetOptions
from conical.engine.options import EvaluateOptions
from conical.metrics import EvaluationName
from conical.runs.completeness import completeness_of, split_counts
from conical.runs.dependencies import Dependencies, EvaluationDependencies
from conical.runs.staleness import stale_reason
from conical.store import EvaluationRecord, FrameStore, RunFolder, Workspace, manifest_hash, read_manifest

_SPLITS = ("test", "val")


@dataclass(frozen=True, kw_only=True)
class OtherDataset:
    """What is asked of another dataset.

    Args:
        root: folder with its files.
        name: a card of `conical.datasets.DATASETS`.
        reader: further arguments of its reader.
        captions: for `frames` only: a file of captions in place of the root's own; its videos are the test split.
        num_frames: frames of each video, >= 1, all of which are scored; None: as many as the run's recipe takes.
        allow_missing: go on without the videos that have no file; every number says so.

    Raises:
        ValueError: a value is out of range.
    """

    root: Path
    name: str = "frames"
    reader: Mapping[str, str] = field(default_factory=dict)
    captions: Path | None = None
    num_frames: int | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        require(self.num_frames is None or self.num_frames >= 1, f"num_frames must be >= 1, got {self.num_frames}")
        require(
            self.captions is None or self.name == "frames",
            f"captions is read for dataset 'frames' only, got it for {self.name!r}: leave it out",
        )

    def experiment(self, trained: Experiment) -> Experiment:
        """A run's settings with this dataset in place of its own.

        Args:
            trained: the run's settings; of its frame recipe all but the number of frames stays.

        Raises:
            DataError: the root is no folder, the captions are no file.
            ConfigError: it is the dataset that the run was trained on, or a generated one.
        """
        root = self.root.expanduser().absolute()
        if not root.is_dir():
            raise DataError(f"there is no folder {root}: give the root of a dataset")
        if self.name == "scenes":
            raise ConfigError("dataset 'scenes' is generated, it has no folder: name another reader")
        reader = dict(self.reader)
        if self.captions is not None:
            captions = self.captions.expanduser().absolute()
            if not captions.is_file():
                raise DataError(f"there is no file {captions}: give captions with columns video_id and caption")
            reader["captions"] = str(captions)
        own = trained.dataset
        own_root = Path(own.root).expanduser().absolute() if own.root else None
        if (own.name, own_root, own.reader) == (self.name, root, reader):
            raise ConfigError(
                f"the run was trained on {root}: conical evaluate without another dataset scores it there"
            )
        dataset = DatasetOptions(name=self.name, root=str(root), reader=reader, allow_missing=self.allow_missing)
        return dataclasses.replace(
            trained,
            dataset=dataset,
            frames=dataclasses.replace(trained.frames, num_frames=self.num_frames or trained.frames.num_frames),
            augment=dataclasses.replace(trained.augment, num_frames=0),
        )


def refuse_other_options(options: EvaluateOptions) -> None:
    """Refuse to score on another dataset what needs more of it than frames and captions of the scored split.

    Raises:
        ProtocolError: a protocol, family, subset or split of `options` does.
    """
    if others := [protocol.name for protocol in options.protocol_rows if protocol.name != "raw"]:
        raise ProtocolError(
            f"another dataset is scored under raw only, got {', '.join(others)}: supplements belong to the run's own "
            "(--protocol raw)"
        )
    if banks := [family.name for family in options.family_rows if family.needs_bank]:
        raise ProtocolError(
            f"another dataset is scored without a bank of train captions, got {', '.join(banks)}: leave it out "
            "(--set evaluate.families=[])"
        )
    if options.subsets:
        raise ProtocolError(
            f"another dataset is scored whole, got subset {', '.join(options.subsets)}: leave it out "
            "(--set evaluate.subsets=[])"
        )
    if strange := [split for split in options.splits if split not in _SPLITS]:
        raise ProtocolError(f"another dataset is scored on {' or '.join(_SPLITS)}, got {', '.join(strange)}")


def refuse_absent_splits(records: Sequence[VideoRecord], splits: Sequence[str], *, root: Path) -> None:
    """Refuse a split that has no query.

    Raises:
        DataError: no video of it has a caption.
    """
    held = sorted({record.split for record in records if record.captions})
    for split in splits:
        if split not in held:
            raise DataError(
                f"{root} has no {split} video with a caption; splits that have: {', '.join(held) or 'none'}"
            )


class OtherDependencies:
    """What the evaluations of one run on another dataset depend on.

    Args:
        on: the run's settings with the other dataset, of `OtherDataset.experiment`.
    """

    def __init__(self, run: RunFolder, on: Experiment, workspace: Workspace, options: EvaluateOptions) -> None:
        self._options, self._frames = options, on.frames.num_frames
        self._manifest = workspace.manifest(on.dataset.folder)
        self._scores = EvaluationDependencies(run, on, workspace, options)

    def of(self, name: EvaluationName) -> Dependencies:
        """All of one evaluation: encoder, manifest, files, captions and frames of the split, options."""
        found = self._scores.of(name)
        manifest = manifest_hash(read_manifest(self._manifest))
        return Dependencies(settings=self.settings(name), data={**found.data, "manifest": manifest})

    def settings(self, name: EvaluationName) -> dict[str, object]:
        """The options alone, which are known before a frame is there."""
        return {**self._options.behind(name), "num_frames": self._frames}


def refuse_stale_on(stored: EvaluationRecord, now: Dependencies, run: RunFolder, *, root: Path) -> None:
    """Refuse to show a stored evaluation as the answer to another question.

    Args:
        now: what it would depend on today; without data only the options are compared.

    Raises:
        ProtocolError: something else.
    """
    if reason := stale_reason(now, stored):
        record = run.read()
        raise ProtocolError(
            f"{stored.name} of run {record.key} ({record.label}) on {root} was scored {reason}: --repeat scores again, "
            "a further look at it"
        )


@dataclass(frozen=True, kw_only=True)
class SeenVideos:
    """Videos of another dataset's split that a run saw while it was trained.

    Args:
        split: of the run's own dataset that holds them.
        by_id: those whose id it has.
        by_file: those whose file, or images, it has byte for byte.
        total: videos that were looked for.
    """

    split: str
    by_id: frozenset[str]
    by_file: frozenset[str]
    total: int

    @property
    def note(self) -> str:
        """How many, in words; "" for none."""
        count = len(self.by_id | self.by_file)
        if not count:
            return ""
        verb = "was" if count == 1 else "were"
        told = f"{verb} trained on" if self.split == "train" else f"{verb} in the val split that chose the epoch"
        how = f"same id: {len(self.by_id):,}, same file: {len(self.by_file):,}"
        return f"{count:,} of {self.total:,} videos {told} ({how})"


def seen_videos(
    trained: Experiment, on: Experiment, workspace: Workspace, *, split: str
) -> tuple[SeenVideos, ...] | None:
    """What a run saw of a split of another dataset, by ids and by the bytes that frames were read from.

    Args:
        trained: the run's own settings.
        on: the same with the other dataset, whose frames are there.

    Returns:
        An entry for train and one for val; none for a run that was not trained; None where the run's own dataset is
        not in the workspace, so that nothing is known.
    """
    if trained.optim.epochs == 0:
        return ()
    folder = trained.dataset.folder
    if not workspace.manifest(folder).is_file():
        return None
    records = [record for record in read_manifest(workspace.manifest(on.dataset.folder)) if record.split == split]
    own, other = _fingerprints(trained, workspace), _fingerprints(on, workspace)
    found = []
    for seen in ("train", "val"):
        ids = {record.video_id for record in read_manifest(workspace.manifest(folder)) if record.split == seen}
        marks = {mark for video_id, mark in own.items() if video_id in ids}
        found.append(
            SeenVideos(
                split=seen,
                by_id=frozenset(record.video_id for record in records if record.video_id in ids),
                by_file=frozenset(record.video_id for record in records if other.get(record.video_id) in marks),
                total=len(records),
            )
        )
    return tuple(found)


def seen_notes(seen: Sequence[SeenVideos] | None) -> tuple[str, ...]:
    """What a number must say of it."""
    if seen is None:
        return ("whether the run was trained on these videos is not known: its own dataset is not in this workspace",)
    return tuple(one.note for one in seen if one.note)


def completeness_on(trained: Experiment, on: Experiment, workspace: Workspace, *, split: str) -> dict[str, SplitCount]:
    """The scored split of the other dataset, and what the run was trained and chosen on, where that is there."""
    counts = dict(split_counts(trained, workspace)) if _has_frames(trained, workspace) else {}
    counts[split] = split_counts(on, workspace)[split]
    return completeness_of(counts, split=split, is_trained=trained.optim.epochs > 0)


def _has_frames(experiment: Experiment, workspace: Workspace) -> bool:
    folder = experiment.dataset.folder
    frames = workspace.frames(folder, experiment.frames.hash)
    return workspace.manifest(folder).is_file() and (frames / "card.json").is_file()


def _fingerprints(experiment: Experiment, workspace: Workspace) -> dict[str, str]:
    if not _has_frames(experiment, workspace):
        return {}
    return FrameStore.open(workspace.frames(experiment.dataset.folder, experiment.frames.hash)).fingerprints()

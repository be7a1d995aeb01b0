"""Which run an experiment is: its data, its key, its folder."""

from __future__ import annotations

from dataclasses import dataclass

from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.hashing import stable_hash
from conical.engine.source import DataSource
from conical.models.dual_encoder import model_revision
from conical.runs.provenance import code_hash
from conical.runs.supplements import supplement_keys
from conical.store import FrameStore, RunFolder, Workspace, manifest_hash, read_manifest

# settings that determine a run's result; the others say where it runs and how it is scored or searched
_DETERMINING = ("seed", "select_by", "mix", "model", "loss", "augment", "optim")


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What `identify` finds.

    Args:
        key: hash of all that determines the result.
        source: the stored data it reads.
        hashes: each determining hash by name.
        folder: where its record lies.
    """

    key: str
    source: DataSource
    hashes: dict[str, str]
    folder: RunFolder


def data_source(experiment: Experiment, workspace: Workspace, *, has_supplements: bool = True) -> DataSource:
    """The stored data of an experiment; a mix without supplements reads no ledger.

    Args:
        experiment: names dataset, frame recipe and mix.
        workspace: where they lie.
        has_supplements: false for a reader of frames and human captions only, who can do without the supplements.

    Raises:
        ConfigError: the mix takes a prompt that is not captioned.
        DataError: a supplement that the mix may take was not written: silently training without it would give the
            number of another experiment.
    """
    wanted = set(experiment.mix.sources()) - {HUMAN} if has_supplements else set()
    return DataSource(
        workspace=str(workspace.root),
        dataset=experiment.dataset.folder,
        frame_recipe=experiment.frames.hash,
        supplement_keys=supplement_keys(experiment, workspace, wanted) if wanted else frozenset(),
        num_frames=experiment.augment.num_frames,
    )


def identify(experiment: Experiment, workspace: Workspace, *, sweep: str = "") -> RunIdentity:
    """Hash all that determines the result of training this experiment on the data as it is now.

    Args:
        experiment: its settings; the metric that chooses the epoch is one of those that determine the result.
        workspace: holds the data.
        sweep: key of the sweep whose trial this is: a trial may be stopped early, so it never shares a folder with a
            run of the same settings, nor with a trial of another sweep.

    Raises:
        DataError: frames are missing: run ingest first.
    """
    source = data_source(experiment, workspace)
    store: FrameStore = source.frame_store
    hashes = {
        "manifest": manifest_hash(read_manifest(workspace.manifest(experiment.dataset.folder))),
        "frames": store.content_hash(),
        "captions": stable_hash([(row.key, row.text) for row in source.supplement_rows()]),
        "weights": model_revision(experiment.model),
        "code": code_hash(),
    }
    config = experiment.to_dict()
    determining = {"config": {name: config[name] for name in _DETERMINING}, "data": hashes}
    determining |= {"sweep": sweep} if sweep else {}
    key = stable_hash(determining)
    folder = RunFolder(workspace.experiment(experiment.name) / "runs" / key)
    return RunIdentity(key=key, source=source, hashes=hashes, folder=folder)

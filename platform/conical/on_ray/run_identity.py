"""Which run an experiment is: its data, its key, its folder."""

from __future__ import annotations

from dataclasses import dataclass

from conical.captioning import describe_captioner
from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.hashing import stable_hash
from conical.engine.data import DataSource, SupplementSelection
from conical.models.dual_encoder import model_revision
from conical.on_ray.provenance import code_hash
from conical.on_ray.stages import captioner_recipe
from conical.store import FrameStore, RunFolder, Workspace, manifest_hash, read_manifest

# tables that determine a run's result; the others say where it runs and how it is scored or searched
_DETERMINING = ("seed", "mix", "model", "loss", "augment", "optim")


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


def data_source(experiment: Experiment, workspace: Workspace) -> DataSource:
    """The stored data of an experiment; a mix without supplements reads no ledger."""
    wanted = set(experiment.mix.sources()) - {HUMAN}
    selection = None
    if wanted:
        card = describe_captioner(experiment.captions)
        prompts = {prompt.id: prompt.hash for prompt in experiment.captions.resolved_prompts()}
        selection = SupplementSelection(
            captioner=card.name,
            model=card.model,
            revision=card.revision,
            frame_recipe=captioner_recipe(experiment, card).hash,
            generation=experiment.captions.generation.to_json(),
            prompt_hashes=frozenset(prompts[prompt] for prompt in wanted if prompt in prompts),
        )
    return DataSource(
        workspace=str(workspace.root),
        dataset=experiment.dataset.folder,
        frame_recipe=experiment.frames.hash,
        supplements_from=selection,
    )


def identify(experiment: Experiment, workspace: Workspace) -> RunIdentity:
    """Hash all that determines the result of training this experiment on the data as it is now.

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
    key = stable_hash({"config": {name: config[name] for name in _DETERMINING}, "data": hashes})
    folder = RunFolder(workspace.experiment(experiment.name) / "runs" / key)
    return RunIdentity(key=key, source=source, hashes=hashes, folder=folder)

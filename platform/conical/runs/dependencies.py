"""What a number depends on: the one place that says it for runs, sweeps and evaluations.

    run         its determining settings; manifest, frames, supplements, weights, code; the metric that selects
    trial       the same, and its sweep
    sweep       the run it starts from, and `[tune]`

Keys, `evaluate`, `compare`, `report` and `status` all ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.hashing import stable_hash
from conical.core.registry import source_fingerprint
from conical.engine.source import DataSource
from conical.models.options import weights_revision
from conical.runs.provenance import code_hash
from conical.runs.supplements import supplement_keys
from conical.store import Workspace, manifest_hash, read_manifest

# settings that determine a run's result; the others say where it runs and how it is scored or searched
DETERMINING_TABLES = ("seed", "select_by", "mix", "model", "loss", "augment", "optim")


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What determines a result.

    Args:
        settings: plain values by name, tables nested.
        data: content hash by the name of what was hashed.
    """

    settings: Mapping[str, Any]
    data: Mapping[str, str]

    @property
    def key(self) -> str:
        """Hash of all of it."""
        return stable_hash({"settings": self.settings, "data": self.data})

    def changes_since(self, earlier: Dependencies) -> tuple[str, ...]:
        """Names of what differs from earlier dependencies: dotted settings, then data.

        >>> now = Dependencies(settings={"loss": {"tau": 2}}, data={"frames": "b"})
        >>> now.changes_since(Dependencies(settings={"loss": {"tau": 1}}, data={"frames": "a"}))
        ('loss.tau', 'frames')
        """
        own, other = _flat(self.settings), _flat(earlier.settings)
        settings = [name for name in dict.fromkeys((*own, *other)) if own.get(name) != other.get(name)]
        names = dict.fromkeys((*self.data, *earlier.data))
        return (*settings, *(name for name in names if self.data.get(name) != earlier.data.get(name)))


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


def run_dependencies(
    experiment: Experiment, workspace: Workspace, source: DataSource, *, sweep: str = ""
) -> Dependencies:
    """What determines the result of training an experiment on the data as they are now.

    Args:
        experiment: its settings; the metric that chooses the epoch is one of those that determine the result.
        workspace: holds the data.
        source: the stored data it reads, from `data_source`.
        sweep: key of the sweep whose trial this is: a trial may be stopped early, so it never shares a folder with a
            run of the same settings, nor with a trial of another sweep.

    Raises:
        DataError: frames are missing: run ingest first.
    """
    frames = source.frame_store  # first: without frames nothing else is worth naming
    return Dependencies(
        settings={**determining_settings(experiment.to_dict()), **({"sweep": sweep} if sweep else {})},
        data={
            "manifest": manifest_hash(read_manifest(workspace.manifest(experiment.dataset.folder))),
            "frames": frames.content_hash(),
            "captions": stable_hash([(row.key, row.text) for row in source.supplement_rows()]),
            "weights": weights_revision(experiment.model),
            "code": code_hash(),
            **_outside_code(experiment),
        },
    )


def _outside_code(experiment: Experiment) -> dict[str, str]:
    """Hashes of the files that a loss or head from outside stands in; what they import is not looked at."""
    names = {"loss": experiment.loss.name, "head": experiment.model.head}
    hashes = {f"code of {what}": source_fingerprint(name) for what, name in names.items()}
    return {what: value for what, value in hashes.items() if value}


def sweep_key(experiment: Experiment, run: Dependencies) -> str:
    """Key of the sweep of an experiment, given what its own run depends on."""
    return stable_hash({"run": run.key, "tune": experiment.to_dict()["tune"]})


def determining_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that determine a run's result.

    Args:
        config: complete settings as plain values.
    """
    return {name: config[name] for name in DETERMINING_TABLES}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat

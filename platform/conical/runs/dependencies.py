"""What a number depends on: the one place that says it for runs, sweeps and evaluations.

    run         its determining settings; manifest, frames, supplements, weights, code
    trial       the same, and its sweep
    sweep       the run it starts from, and `[tune]`
    evaluation  the options that change it; the encoder; files, captions, frames and supplements of the splits it reads

Keys, `evaluate`, `compare`, `report` and `status` all ask here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from conical.captioning.mix import HUMAN
from conical.config import Experiment, parse_experiment
from conical.config.nested import flatten
from conical.core.errors import ConfigError, DataError, UserError
from conical.core.hashing import file_fingerprint, stable_hash
from conical.core.registry import source_fingerprint
from conical.engine.options import EvaluateOptions
from conical.engine.protocols.captioned_gallery import refuse_leaking_prompts
from conical.engine.source import DataSource
from conical.metrics import EvaluationName
from conical.models.options import weights_revision
from conical.runs.finding import runs_named
from conical.runs.provenance import code_hash
from conical.runs.refusals import leak_free_list
from conical.runs.supplements import find_supplements
from conical.store import RunFolder, RunRecord, Workspace, manifest_hash, read_manifest

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, to be stored with a result."""
        return {"settings": dict(self.settings), "data": dict(self.data)}

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
        own, other = flatten(self.settings), flatten(earlier.settings)
        settings = [name for name in dict.fromkeys((*own, *other)) if own.get(name) != other.get(name)]
        names = dict.fromkeys((*self.data, *earlier.data))
        return (*settings, *(name for name in names if self.data.get(name) != earlier.data.get(name)))


def data_source(experiment: Experiment, workspace: Workspace, *, has_supplements: bool = True) -> DataSource:
    """The stored data of an experiment; a mix without supplements reads no ledger.

    Args:
        experiment: names dataset, frame recipe and mix.
        has_supplements: false for a reader of frames and human captions only, who can do without the supplements.

    Raises:
        ConfigError: the mix takes a prompt that is not captioned.
        ProtocolError: the head would read supplements that were written with the human caption at hand.
        DataError: supplements that the mix may take are missing: silently training without them would give the
            number of another experiment.
    """
    wanted = {*experiment.mix.sources(), *experiment.head_prompts} - {HUMAN} if has_supplements else set()
    if has_supplements and experiment.head_prompts:
        refuse_leaking_prompts(experiment.captions.resolved_prompts(), experiment.head_prompts)
    found = find_supplements(experiment, workspace, wanted, splits=("train",))
    return DataSource(
        workspace=str(workspace.root),
        dataset=experiment.dataset.folder,
        frame_recipe=experiment.frames.hash,
        supplement_keys=found.keys,
        supplement_counts=found.counts,
        head_prompts=experiment.head_prompts if has_supplements else (),
        teacher=str(find_teacher(experiment, workspace).path) if experiment.loss.teacher and has_supplements else "",
        num_frames=experiment.augment.num_scored_frames or experiment.augment.num_frames,
        map_folder=experiment.ray.frame_map_folder,
        frame_access=experiment.ray.frame_access,
    )


def run_dependencies(
    experiment: Experiment, workspace: Workspace, source: DataSource, *, sweep: str = ""
) -> Dependencies:
    """What determines the result of training an experiment on the data as they are now.

    Args:
        experiment: its settings; the metric that chooses the epoch is one of those that determine the result.
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
            **({"teacher": _encoder_hash(RunFolder(Path(source.teacher)))} if source.teacher else {}),
        },
    )


def find_teacher(experiment: Experiment, workspace: Workspace) -> RunFolder:
    """The finished run that `loss.teacher` names.

    Raises:
        DataError: there is none, several, or it is not finished.
        ConfigError: it looks at other frames.
    """
    name = experiment.loss.teacher
    run = runs_named(workspace, experiment.name, name)[0]
    record = run.read()
    if not run.encoder.is_file():
        raise DataError(f"loss.teacher {name!r} is {record.status} and has no encoder: train it to the end first")
    size = parse_experiment(record.config, origin=f"the settings of run {record.key}").frames.size
    if size != experiment.frames.size:
        raise ConfigError(
            f"loss.teacher {name!r} looks at frames of {size} pixels, this run at {experiment.frames.size}: give both "
            "one frames.size"
        )
    return run


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


def dependencies_of(record: RunRecord) -> Dependencies:
    """What a stored run depended on."""
    return Dependencies(settings=determining_settings(record.config), data=record.data_hashes)


def method_dependencies(record: RunRecord) -> Dependencies:
    """All that a run depended on but its seed: runs are seeds of one method if this is equal."""
    settings = determining_settings(record.config)
    del settings["seed"]
    return Dependencies(settings=settings, data=record.data_hashes)


def _encoder_hash(run: RunFolder) -> str:
    files = [file for file in (run.encoder, run.head) if file.is_file()]
    return stable_hash([file_fingerprint(file) for file in files]) if files else ""


# what was asked for, such as ("data", dataset, recipe, split), to the hashes by name
KnownHashes: TypeAlias = dict[tuple[str, ...], dict[str, str]]


class EvaluationDependencies:
    """What the evaluations of one run depend on, as encoder and data are now; each split is hashed once.

    Args:
        options: how it is scored.
        hashes: of data that another run was asked about already; filled as this one is asked.
    """

    def __init__(
        self,
        run: RunFolder,
        experiment: Experiment,
        workspace: Workspace,
        options: EvaluateOptions,
        *,
        hashes: KnownHashes | None = None,
    ) -> None:
        self._run = run
        self._experiment = experiment
        self._workspace = workspace
        self._options = options
        self._source = data_source(experiment, workspace, has_supplements=False)
        self._known: KnownHashes = {} if hashes is None else hashes
        self._frames = (experiment.dataset.folder, experiment.frames.hash)

    def of(self, name: EvaluationName) -> Dependencies:
        """What one evaluation depends on; what is gone has the hash "".

        Raises:
            ProtocolError: the leak-free list is of another manifest.
        """
        options = self._options
        data = self._once(("encoder", str(self._run.path)), lambda: {"encoder": self._encoder()})
        prompts = tuple(options.protocol(name.protocol).prompts(options))
        captioned = (*self._frames, stable_hash(self._experiment.to_dict()["captions"])) if prompts else ()
        for split in options.splits_behind(name):
            data |= self._once(("data", *self._frames, split), partial(self._data, split))
            if prompts:
                key = ("supplements", *captioned, split, *prompts)
                data |= self._once(key, partial(self._supplements, split, prompts))
        data |= {f"code of {what}": mark for what, mark in options.outside_code(name).items()}
        if name.subset:
            data |= self._once(("list", self._frames[0]), lambda: {"leak-free list": self._leak_free()})
        return Dependencies(settings=options.behind(name), data=data)

    def _encoder(self) -> str:
        return _encoder_hash(self._run)

    def _data(self, split: str) -> dict[str, str]:
        """Files by their bytes, captions, and frames: two methods share the first two, whatever frames they take."""
        try:
            records = self._source.records(split)
            store = self._source.frame_store
        except DataError:
            return dict.fromkeys((f"files of {split}", f"captions of {split}", f"frames of {split}"), "")
        marks = store.fingerprints()
        ids = [record.video_id for record in records]
        return {
            f"files of {split}": stable_hash([[video_id, marks[video_id]] for video_id in ids]),
            f"captions of {split}": stable_hash([[record.video_id, list(record.captions)] for record in records]),
            f"frames of {split}": store.content_hash(ids),
        }

    def _supplements(self, split: str, prompts: tuple[str, ...]) -> dict[str, str]:
        """Their texts, not their keys alone: a ledger may be edited."""
        try:
            keys = find_supplements(self._experiment, self._workspace, prompts, splits=(split,)).keys
            videos = {record.video_id for record in self._source.records(split)}
        except UserError:
            return {f"supplements of {split}": ""}
        rows = dataclasses.replace(self._source, supplement_keys=keys).supplement_rows()
        texts = [[row.key, row.text] for row in rows if row.video_id in videos]
        return {f"supplements of {split}": stable_hash(texts)}

    def _leak_free(self) -> str:
        has_audit = self._workspace.audit(self._experiment.dataset.folder).is_dir()
        return leak_free_list(self._experiment, self._workspace).ids_hash if has_audit else ""

    def _once(self, key: tuple[str, ...], make: Callable[[], dict[str, str]]) -> dict[str, str]:
        if key not in self._known:
            self._known[key] = make()
        return dict(self._known[key])

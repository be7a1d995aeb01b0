"""A run's folder: its record, its best encoder, its evaluations.

    <experiment>/runs/<key>/run.json            what it is and where it stands
    <experiment>/runs/<key>/config.toml         the complete settings
    <experiment>/runs/<key>/encoder.safetensors best encoder on val, a checkpoint of open_clip's
    <experiment>/runs/<key>/head.safetensors    its head, if that has parameters
    <experiment>/runs/<key>/curve.json          one row per epoch
    <experiment>/runs/<key>/val_ranking.npz     ranks on val at the best epoch (trials of a sweep)
    <experiment>/runs/<key>/evaluation/<split>[-<subset>]-<protocol>[.<family>].{json,npz}
    <experiment>/runs/<key>/evaluation_on/<dataset>/   the same of another dataset than its own, and looks.json

The key is the hash of all that determines the result: settings, data, weights, code, and of a trial its sweep. So the
same settings find the same folder again, and a run that is finished is not run twice.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from conical.core.atomic import atomic_path, write_text_atomic
from conical.core.errors import StoreError
from conical.core.records import SupplementCount
from conical.metrics import EvaluationName
from conical.store.evaluations import EvaluationRecord, read_evaluation, write_evaluation
from conical.store.rankings import RankedQueries

# in a checkpoint, the folder of its best encoder; its files are those of a run's folder
BEST = "best"
_LOOKS = "looks.json"
STATUSES = ("running", "finished", "stopped", "failed")


@dataclass(frozen=True, kw_only=True)
class TestLook:
    """One scoring of the test split, under whatever protocol, family and subset.

    Args:
        name: of the evaluation, such as `test/raw` or `test-leak-free/raw.dsl`.
        time: when, ISO 8601, UTC.
        is_forced: the run was a trial that did not win its sweep, scored because the user insisted.
    """

    __test__ = False  # no class of tests, whatever pytest makes of its name

    name: str
    time: str
    is_forced: bool = False


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What `run.json` holds.

    Args:
        key: name of the folder.
        label: what tables call the run.
        status: one of `STATUSES`; `stopped` is a trial ended early by the scheduler.
        config: the settings, plain values.
        data_hashes: manifest, frames, captions, weights, code.
        environment: versions, commit, device, host facts.
        best_epoch: where it scored best on val, counted in epochs; 0: the model as loaded, 1.5: within the second.
        val_value: best value of the metric that selects; None before the first epoch.
        seconds: wall time so far.
        supplements: texts of train that the mix asked for, and those it had, by prompt.
        looks: what each scoring of the test split scored and when, oldest first.
    """

    key: str
    label: str
    status: str
    seed: int
    tracking_id: str
    config: dict[str, Any]
    data_hashes: dict[str, str]
    environment: dict[str, str]
    best_epoch: float = 0.0
    val_value: float | None = None
    seconds: float = 0.0
    supplements: tuple[SupplementCount, ...] = ()
    looks: tuple[TestLook, ...] = ()

    def __post_init__(self) -> None:
        assert self.status in STATUSES, self.status

    @property
    def test_looks(self) -> int:
        """Times the test split was scored; of this run alone, see `conical.runs.looks`."""
        return len(self.looks)

    @property
    def is_as_loaded(self) -> bool:
        """Whether training kept the weights as loaded, since no epoch was better on val."""
        return self.val_value is not None and self.best_epoch == 0

    @property
    def supplements_note(self) -> str:
        """What training lacked of the supplements that its mix asked for, in words; "" for nothing."""
        partial = [count for count in self.supplements if count.written < count.asked]
        words = ", ".join(f"{count.written:,} of {count.asked:,} supplements {count.prompt_id}" for count in partial)
        return f"trained with {words}" if words else ""

    def with_look(self, look: TestLook) -> RunRecord:
        """This record after a further look at test."""
        return replace(self, looks=(*self.looks, look))

    def looks_note(self, name: EvaluationName) -> str:
        """How often test was looked at before a number may be read as a first look, in words; "" for a first look."""
        same = [look for look in self.looks if look.name == str(name)]
        notes = []
        if self.test_looks > 1:
            often = f", {len(same)} of them as here" if same else ""
            notes.append(f"test was looked at {self.test_looks} times{often}")
        if any(look.is_forced for look in same):
            notes.append("a trial that its sweep did not choose")
        return "; ".join(notes)


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes one run's folder.

    Args:
        path: the folder; made when first written.
    """

    path: Path

    @property
    def encoder(self) -> Path:
        """The best encoder's weights."""
        return self.path / "encoder.safetensors"

    @property
    def head(self) -> Path:
        """The best encoder's head; absent if it has no parameters."""
        return self.path / "head.safetensors"

    @property
    def exists(self) -> bool:
        """Whether a record was written."""
        return (self.path / "run.json").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run ended well and its encoder is there."""
        return self.exists and self.encoder.is_file() and self.read().status in ("finished", "stopped")

    def read(self) -> RunRecord:
        """The record.

        Raises:
            StoreError: absent or not readable.
        """
        path = self.path / "run.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            looks = tuple(TestLook(**look) for look in data["looks"])
            supplements = tuple(SupplementCount(**count) for count in data.get("supplements", ()))
            return RunRecord(**data | {"looks": looks, "supplements": supplements})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"run record {path} cannot be read ({error}): delete the folder and run again") from error

    def write(self, record: RunRecord) -> None:
        """Replace the record, whole or not at all."""
        write_text_atomic(self.path / "run.json", json.dumps(asdict(record), indent=1))

    def take_encoder(self, other: RunFolder) -> None:
        """Copy another folder's encoder here, its head first: where an encoder is, it is whole."""
        self.head.unlink(missing_ok=True)
        if other.head.is_file():
            with atomic_path(self.head) as temporary:
                shutil.copyfile(other.head, temporary)
        with atomic_path(self.encoder) as temporary:
            shutil.copyfile(other.encoder, temporary)

    def read_curve(self) -> list[dict[str, float]]:
        """One row per epoch, oldest first; empty if none was written."""
        path = self.path / "curve.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    def write_curve(self, rows: list[dict[str, float]]) -> None:
        """Replace the curve."""
        write_text_atomic(self.path / "curve.json", json.dumps(rows))

    @property
    def val_ranking(self) -> Path:
        """Ranks on val at the best epoch, see `RankedQueries`; trials have them."""
        return self.path / "val_ranking.npz"

    def read_val_ranking(self) -> RankedQueries | None:
        """Ranks on val at the best epoch; None if they were not kept."""
        return RankedQueries.read(self.val_ranking)

    @property
    def evaluations(self) -> Path:
        """Folder of the evaluations."""
        return self.path / "evaluation"

    def evaluation_path(self, name: EvaluationName) -> Path:
        """The JSON half of an evaluation."""
        return self.evaluations / f"{name.part}-{name.scores}.json"

    def evaluation_names(self) -> tuple[EvaluationName, ...]:
        """What was scored, sorted by name."""
        contents = (json.loads(path.read_text(encoding="utf-8")) for path in self.evaluations.glob("*.json"))
        names = [
            EvaluationName(**{key: plain.get(key) for key in ("split", "protocol", "family", "subset")})
            for plain in contents
        ]
        return tuple(sorted(names, key=str))

    def write_evaluation(self, record: EvaluationRecord) -> None:
        """Replace an evaluation, whole or not at all."""
        write_evaluation(self.evaluation_path(record.name), record)

    def read_evaluation(
        self, split: str, protocol: str = "raw", *, family: str | None = None, subset: str | None = None
    ) -> EvaluationRecord | None:
        """An evaluation, or None if this was not scored.

        Raises:
            StoreError: it is damaged.
        """
        name = EvaluationName(split=split, protocol=protocol, family=family, subset=subset)
        return read_evaluation(self.evaluation_path(name))

    def on(self, dataset: str) -> EvaluationsOn:
        """What was scored on another dataset than the run's own; `evaluation_names` and tables never hold it.

        Args:
            dataset: folder of the dataset in the workspace.
        """
        return EvaluationsOn(self.path / "evaluation_on" / dataset)


@dataclass(frozen=True)
class EvaluationsOn:
    """Reads and writes what one run scored on another dataset.

    Args:
        path: the folder; made when first written.
    """

    path: Path

    def evaluation_path(self, name: EvaluationName) -> Path:
        """The JSON half of an evaluation."""
        return self.path / f"{name.part}-{name.scores}.json"

    def write_evaluation(self, record: EvaluationRecord) -> None:
        """Replace an evaluation, whole or not at all."""
        write_evaluation(self.evaluation_path(record.name), record)

    def read_evaluation(self, name: EvaluationName) -> EvaluationRecord | None:
        """An evaluation, or None if this was not scored.

        Raises:
            StoreError: it is damaged.
        """
        return read_evaluation(self.evaluation_path(name))

    def read_looks(self) -> tuple[TestLook, ...]:
        """The scorings of this dataset's test split, oldest first.

        Raises:
            StoreError: their list is damaged.
        """
        path = self.path / _LOOKS
        if not path.is_file():
            return ()
        try:
            return tuple(TestLook(**look) for look in json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"{path} cannot be read ({error}): it counts the looks at test, mend it") from error

    def add_look(self, look: TestLook) -> None:
        """Note a further look."""
        looks = [asdict(one) for one in (*self.read_looks(), look)]
        write_text_atomic(self.path / _LOOKS, json.dumps(looks, indent=1))


def list_runs(experiment: Path) -> list[RunFolder]:
    """All runs of an experiment's folder, by key."""
    return [RunFolder(path.parent) for path in sorted(experiment.glob("runs/*/run.json"))]

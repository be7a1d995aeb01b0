"""The record of a sweep: its trials and which of them won on val."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from conical.core.atomic import write_text_atomic
from conical.core.errors import StoreError
from conical.metrics import merit


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial of a sweep.

    Args:
        number: order of its start, from 0.
        run_key: its run.
        settings: what was drawn, by dotted name.
        value: best value of the metric, percent; None if it never reported.
        status: of its run, see `conical.store.runs.STATUSES`.
        epochs: epochs it ran.
    """

    number: int
    run_key: str
    settings: dict[str, float]
    value: float | None
    status: str
    epochs: int


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """What `sweep.json` holds.

    Args:
        key: hash of settings, data and space.
        metric: what chose the best.
        tracking_id: the parent run in MLflow.
        is_finished: whether all trials ended.
        trials: in the order they started.
        indistinguishable: numbers of the trials whose value does not differ significantly from the best one's, the
            best itself not among them; None where that was not tested.
        indistinguishable_test: how it was tested, in words.
    """

    key: str
    metric: str
    tracking_id: str
    is_finished: bool
    trials: tuple[TrialRecord, ...]
    indistinguishable: tuple[int, ...] | None = None
    indistinguishable_test: str = ""

    @property
    def best(self) -> TrialRecord:
        """The trial with the best value; of equals the first, so that the choice is reproducible.

        Raises:
            StoreError: no trial reported a value.
        """
        scored = [trial for trial in self.trials if trial.value is not None and trial.status in ("finished", "stopped")]
        if not scored:
            raise StoreError(f"no trial of sweep {self.key} has a value: see logs/ray.log in the workspace")
        return max(scored, key=lambda trial: (merit(self.metric, trial.value or 0.0), -trial.number))


def read_sweep(path: Path) -> SweepRecord | None:
    """A stored sweep, or None if there is none.

    Raises:
        StoreError: it is not readable.
    """
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(TrialRecord(**trial) for trial in data["trials"])
        found = data.get("indistinguishable")
        return SweepRecord(**data | {"trials": trials, "indistinguishable": None if found is None else tuple(found)})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"sweep record {path} cannot be read ({error}): delete its folder and tune again, finished runs are kept"
        ) from error


def write_sweep(path: Path, record: SweepRecord) -> None:
    """Replace the record, whole or not at all."""
    write_text_atomic(path, json.dumps(asdict(record), indent=1))

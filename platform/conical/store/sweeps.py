"""The record of a sweep: its trials and which of them won on val."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from conical.core.atomic import write_text_atomic
from conical.core.errors import StoreError
from conical.core.options import require, require_choice
from conical.metrics import merit
from conical.store.runs import STATUSES

# the others left no encoder behind
_STATUSES_OF_A_WINNER = ("finished", "stopped")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a sweep.

    Args:
        number: order of its start, from 0, unique in the sweep.
        settings: what was drawn, by dotted name (`loss.tau_tv`, `mix.human`).
        value: best value of the sweep's metric; None if it never reported.
        status: of its run, one of `conical.store.runs.STATUSES`; `stopped` is ended early by the scheduler.

    Raises:
        ValueError: an unknown status, or a value that is not finite.
    """

    number: int
    run_key: str
    settings: dict[str, float]
    value: float | None
    status: str
    epochs: float

    def __post_init__(self) -> None:
        require_choice("status", self.status, STATUSES)
        require(
            self.value is None or math.isfinite(self.value),
            f"value of trial {self.number} must be finite or None, got {self.value}",
        )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A search over hyperparameters, scored on val; what `sweep.json` holds.

    Args:
        key: hash of settings, data and space.
        metric: full name of what was optimised (`val/raw/t2v/R1`).
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
    trials: tuple[Trial, ...]
    indistinguishable: tuple[int, ...] | None = None
    indistinguishable_test: str = ""

    @property
    def scored(self) -> tuple[Trial, ...]:
        """Trials that reported a value, best first; of equals the earlier, so that the choice is reproducible."""
        valued = [(-merit(self.metric, trial.value), trial) for trial in self.trials if trial.value is not None]
        return tuple(trial for _, trial in sorted(valued, key=lambda place: (place[0], place[1].number)))

    @property
    def best_or_none(self) -> Trial | None:
        """The best trial that left an encoder, None if there is none."""
        return next((trial for trial in self.scored if trial.status in _STATUSES_OF_A_WINNER), None)

    @property
    def best(self) -> Trial:
        """The best trial that left an encoder.

        Raises:
            StoreError: there is none.
        """
        best = self.best_or_none
        if best is None:
            raise StoreError(f"no trial of sweep {self.key} has a value: see logs/ray.log in the workspace")
        return best


def read_sweep(path: Path) -> Sweep | None:
    """A stored sweep, or None if there is none.

    Raises:
        StoreError: it is not readable.
    """
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(Trial(**trial) for trial in data["trials"])
        near = data.get("indistinguishable")
        return Sweep(**data | {"trials": trials, "indistinguishable": None if near is None else tuple(near)})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"sweep record {path} cannot be read ({error}): delete its folder and tune again, finished runs are kept"
        ) from error


def write_sweep(path: Path, sweep: Sweep) -> None:
    """Replace the record, whole or not at all."""
    write_text_atomic(path, json.dumps(asdict(sweep), indent=1))

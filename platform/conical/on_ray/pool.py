"""Units of work on a pool of actors: how ingest and captioning spread over a cluster.

A unit is one row for Ray Data: a name and a JSON payload. A worker does a unit, stores its result itself and answers
with counts, so nothing large travels through the object store. Ray restarts an actor that dies and repeats its unit.
What a user can mend (`UserError`) travels as a value: as an exception Ray would wrap it, print a traceback or retry.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# at the top, so that it is there before `session.connect` sends Ray's loggers to a file: its import resets them
import ray
from ray.data import ActorPoolStrategy

from conical.core.errors import ClusterError, ConfigError, DataError, StoreError, UserError
from conical.core.progress import Activity, Report, no_report
from conical.on_ray.failures import explain
from conical.on_ray.room import Need, nodes_now, told_of_waiting
from conical.on_ray.session import silence_data_bars

# A unit that kills its actor this often (a crash in a C library, memory) ends the job instead of repeating for ever.
_ATTEMPTS_PER_UNIT = 5
_USER_ERRORS: dict[str, type[UserError]] = {
    kind.__name__: kind for kind in (ClusterError, ConfigError, DataError, StoreError)
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The work that one death may cost.

    Args:
        name: unique among the units of a step, the same whenever the step runs again.
        payload: JSON for the worker.
    """

    name: str
    payload: str

    def to_row(self) -> dict[str, str]:
        """A row for Ray Data."""
        return {"name": self.name, "payload": self.payload}


class UnitWorker(ABC):
    """Base of the actors: one unit in, its counts out."""

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Do the one unit of `batch`; the answer holds its counts, or the user's mistake that stopped it."""
        unit = Unit(name=str(batch["name"][0]), payload=str(batch["payload"][0]))
        counts: Mapping[str, int] = {}
        error_type = message = ""
        try:
            counts = self.do(unit)
        except UserError as error:
            error_type, message = type(error).__name__, str(error)
        return {"counts": [json.dumps(dict(counts))], "error_type": [error_type], "message": [message]}

    @abstractmethod
    def do(self, unit: Unit) -> Mapping[str, int]:
        """Do a unit and store its result.

        Raises:
            UserError: the whole step must stop; any other exception kills the actor and is retried.
        """


def run_units(
    worker: type[UnitWorker],
    units: Sequence[Unit],
    *,
    arguments: Mapping[str, Any],
    stage: str,
    lower: str,
    run: str = "",
    max_actors: int | None = None,
    cpus_per_actor: float = 1,
    gpus_per_actor: float = 0,
    report: Report = no_report,
) -> Iterator[Counter[str]]:
    """Do all units on a pool of actors. Ray must be running.

    Args:
        worker: class of the actors.
        arguments: keyword arguments of the worker's constructor.
        stage: what messages and Ray's dashboard call the step.
        lower: settings that ask for less memory, for the message.
        run: what the dashboard calls this run of it, such as the dataset.
        max_actors: most actors of the pool, which begins with those that have room and grows with the cluster; None:
            as many as find room. Never more than there are units.
        cpus_per_actor: reserved for each; may be a fraction.
        gpus_per_actor: reserved for each; may be a fraction.
        report: told what the first actor waits for.

    Yields:
        Counts of each unit as it finishes, in any order.

    Raises:
        UserError: as a worker raised it.
        ClusterError: no actor has room on the cluster, or one dies again and again; finished units are kept.
    """
    silence_data_bars()
    need = Need(
        stage=stage,
        worker="actor",
        each={"CPU": cpus_per_actor, "GPU": gpus_per_actor},
        most=min(max_actors or len(units), len(units)),
        least=1,
        settings="",
    )
    with told_of_waiting(need, lambda what: report(Activity(stage=stage, doing=what))) as waiting:
        for counts in _answers(worker, units, arguments=arguments, need=need, run=run, lower=lower):
            waiting.end()
            yield counts


def _answers(
    worker: type[UnitWorker], units: Sequence[Unit], *, arguments: Mapping[str, Any], need: Need, run: str, lower: str
) -> Iterator[Counter[str]]:
    """See `run_units`."""
    started = time.time()
    title = " ".join(filter(None, (need.stage, run)))
    # Ray's pages call operator and actors by the name of the class
    named = type(title, (worker,), {})
    fitting = max(1, min(need.fitting(nodes_now()), need.most))
    # one block per unit: a unit is what is handed out when an actor is free
    dataset = ray.data.from_items([unit.to_row() for unit in units], override_num_blocks=len(units)).map_batches(
        named,
        batch_size=1,
        compute=ActorPoolStrategy(
            min_size=1, max_size=need.most, initial_size=fitting, max_tasks_in_flight_per_actor=2
        ),
        fn_constructor_kwargs=dict(arguments),
        num_cpus=need.each.get("CPU", 0),
        num_gpus=need.each.get("GPU", 0),
        max_restarts=-1,
        max_task_retries=_ATTEMPTS_PER_UNIT - 1,
    )
    dataset.set_name(title)
    try:
        for answer in dataset.iter_rows():
            if answer["error_type"]:
                raise _USER_ERRORS.get(answer["error_type"], UserError)(answer["message"])
            yield Counter(json.loads(answer["counts"]))
    except ray.exceptions.RayError as error:
        raise explain(error, stage=need.stage, lower=lower, since=started) from error

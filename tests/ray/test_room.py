"""Room on a running Ray of two CPUs: what can never run is refused, what waits is told, and names say what runs."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import conical
from conical.core.errors import ClusterError
from conical.on_ray.pool import Unit, run_units
from conical.on_ray.room import Need, grows, nodes_now, require_room, told_of_waiting
from pool_fakes import Counting

pytestmark = pytest.mark.ray

UNITS = [Unit(name=f"unit {number}", payload="") for number in range(4)]


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Iterator[None]:
    import ray

    ray.shutdown()  # what other tests share has as many CPUs as this machine
    paths = (Path(conical.__file__).parent.parent, Path(__file__).parent.parent)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(map(str, paths))}},
    )
    yield
    ray.shutdown()


@pytest.fixture
def other_job() -> Iterator[Any]:
    """Somebody else, who holds both CPUs until it is killed."""
    import ray

    class Other:
        def is_there(self) -> bool:
            return True

    actor = ray.remote(num_cpus=2)(Other).remote()
    assert ray.get(actor.is_there.remote())
    yield actor
    ray.kill(actor)


def pool(**options: Any) -> Iterator[Counter[str]]:
    return run_units(Counting, UNITS, arguments={}, stage="ingest", lower="frames.size", run="scenes", **options)


def need(*, count: int, cpus: float = 1.0) -> Need:
    return Need(stage="train", worker="rank", each={"CPU": cpus}, most=count, least=count, settings="ray.num_workers")


def test_a_fixed_cluster_does_not_grow() -> None:
    assert not grows()
    assert [node.resources["CPU"] for node in nodes_now()] == [2.0]


@pytest.mark.parametrize("options", [{"cpus_per_actor": 3}, {"gpus_per_actor": 1}])
def test_a_pool_whose_actor_fits_no_machine_is_refused_at_once(options: dict[str, float]) -> None:
    with pytest.raises(ClusterError, match=r"^ingest needs an actor with .*, but the machine has "):
        next(pool(**options))


def test_more_ranks_than_cpus_are_refused_at_once() -> None:
    with pytest.raises(ClusterError, match=r"^train needs 3 ranks at once with 1 CPU each, but the machine has 2 CPUs"):
        require_room(need(count=3))


def test_a_pool_larger_than_the_cluster_works_with_what_there_is_and_says_who_it_is() -> None:
    import ray

    assert sum((counts["ok"] for counts in pool(max_actors=50)), 0) == len(UNITS)
    assert any("ingest scenes" in actor["ActorClassName"] for actor in ray._private.state.actors().values())


def test_a_pool_that_waits_for_other_jobs_says_so_and_goes_on_when_they_end(other_job: Any) -> None:
    import ray

    told: list[Any] = []
    done: list[Counter[str]] = []
    thread = threading.Thread(target=lambda: done.extend(pool(report=told.append)))
    thread.start()
    deadline = time.monotonic() + 120
    while not told and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not done
    ray.kill(other_job)
    thread.join()
    assert told[0].doing == (
        "waits for 2 actors with 1 CPU: 2 of 2 CPUs are in use, look at other jobs on this cluster"
    )
    assert len(done) == len(UNITS)


def test_ranks_that_wait_are_told_of_until_they_begin(other_job: Any) -> None:
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    told: list[str] = []
    with told_of_waiting(need(count=2), told.append) as waiting:
        group = placement_group([{"CPU": 1.0}] * 2)
        deadline = time.monotonic() + 120
        while not told and time.monotonic() < deadline:
            time.sleep(0.1)
        waiting.end()
        number = len(told)
    assert told[0].startswith("waits for 2 ranks with 1 CPU: 2 of 2 CPUs are in use")
    ray.kill(other_job)
    assert group.wait(60)
    remove_placement_group(group)
    assert len(told) == number

"""What each stage asks of a cluster, and what is said where there is no room for it."""

from __future__ import annotations

import pytest

from conical.config import load_experiment
from conical.core.errors import ClusterError
from conical.core.progress import Progress
from conical.on_ray import room
from conical.on_ray.address import RayNode
from conical.on_ray.room import Need, needs


def nodes(*resources: dict[str, float]) -> list[RayNode]:
    return [RayNode(resources=one) for one in resources]


TWO_CPUS = nodes({"CPU": 2.0})


@pytest.mark.parametrize(
    ("settings", "stage", "machines", "said"),
    [
        (["ray.num_workers=3", "ray.cpus_per_worker=1", "optim.batch_size=30"], "train", TWO_CPUS,
         "train needs 3 ranks at once with 1 CPU each, but the machine has 2 CPUs, room for 2 ranks: "
         "lower ray.num_workers or ray.cpus_per_worker, or use a larger cluster"),
        (["ray.cpus_per_worker=4"], "train", TWO_CPUS, "2 ranks at once with 4 CPUs each, but .* room for 0 ranks"),
        (["ray.num_workers=1", "ray.cpus_per_worker=4"], "train", TWO_CPUS, "train needs a rank with 4 CPUs, but"),
        # a rank is never divided between machines
        (["ray.num_workers=1", "ray.cpus_per_worker=3"], "train", nodes({"CPU": 2.0}, {"CPU": 2.0}),
         "but the 2 machines have 4 CPUs, room for 0 ranks"),
        (["ray.use_gpu=true"], "train", TWO_CPUS,
         "2 ranks at once with 0.5 CPUs and 1 GPU each, but the machine has no GPU: "
         "set ray.use_gpu=false, or join a cluster with GPUs"),
        (["ray.use_gpu=true"], "train", nodes({"CPU": 2.0, "GPU": 1.0}), "has 2 CPUs and 1 GPU, room for 1 rank:"),
        (["ray.use_gpu=true"], "caption", TWO_CPUS, "caption needs a captioner with 1 CPU and 1 GPU, but .* no GPU"),
        (["ray.use_gpu=true"], "tune", TWO_CPUS, "tune needs a trial with 1 CPU and 1 GPU, but .* no GPU"),
        (["ray.use_gpu=true"], "evaluate", TWO_CPUS, "evaluate needs a task with 1 CPU and 1 GPU, but .* no GPU"),
        ([], "ingest", nodes({"CPU": 0.0}), "ingest needs a decoder with 1 CPU, but .* has 0 CPUs"),
        ([], "caption", nodes({"memory": 1.0}), "caption needs a captioner with 1 CPU, but .* has 0 CPUs"),
    ],
)  # fmt: skip
def test_what_can_never_run_is_refused(settings, stage, machines, said, monkeypatch) -> None:
    monkeypatch.setattr(room, "nodes_now", lambda: machines)
    monkeypatch.setattr(room, "grows", lambda: False)
    with pytest.raises(ClusterError, match=said) as caught:
        room.require_room(needs(load_experiment(None, settings))[stage])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [[], ["ray.num_captioners=100", "tune.max_concurrent=100"]])
def test_the_defaults_and_large_pools_fit_two_cores_and_one(settings, monkeypatch) -> None:
    for machines in (TWO_CPUS, nodes({"CPU": 1.0})):
        monkeypatch.setattr(room, "nodes_now", lambda machines=machines: machines)
        for need in needs(load_experiment(None, settings)).values():
            room.require_room(need)


def test_a_cluster_that_grows_is_asked(monkeypatch) -> None:
    monkeypatch.setattr(room, "nodes_now", lambda: nodes({"CPU": 0.0}))
    monkeypatch.setattr(room, "grows", lambda: True)
    room.require_room(needs(load_experiment(None, ["ray.use_gpu=true"]))["train"])


@pytest.mark.parametrize(
    ("cpus", "each", "fitting"), [(2.0, 0.5, 4), (0.3, 0.1, 3), (2.0, 1.0, 2), (0.5, 1.0, 0), (0.0, 0.0, 7)]
)
def test_fractions_are_counted_as_ray_counts_them(cpus: float, each: float, fitting: int) -> None:
    need = Need(stage="x", worker="actor", each={"CPU": each}, most=7, least=1, settings="y")
    assert need.fitting(nodes({"CPU": cpus})) == fitting


def test_how_many_found_room_is_said_with_each_progress(monkeypatch) -> None:
    monkeypatch.setattr(room, "nodes_now", lambda: TWO_CPUS)
    told: list[Progress] = []
    need = needs(load_experiment(None, ["tune.max_concurrent=5", "tune.num_trials=9"]))["tune"]
    room.with_note_of_room(need, told.append)(Progress(stage="tune", done=1, total=2, unit="epochs", note="best 3"))
    assert [one.note for one in told] == ["best 3, 2 of 5 trials fit"]
    assert room.with_note_of_room(needs(load_experiment(None))["tune"], told.append) == told.append


def test_this_machine_counts_its_cores() -> None:
    (node,) = room.nodes_here()
    assert node.resources["CPU"] >= 1

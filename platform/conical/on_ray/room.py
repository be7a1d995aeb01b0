"""Whether a stage's workers have room: refused where they never will, named while they wait, never a silent hang."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from conical.config import Experiment
from conical.core.errors import ClusterError
from conical.core.progress import Progress, Report, Told
from conical.on_ray.address import RayNode

_POLL_SECONDS = 1.0
# a demand that is younger may be a worker that is just starting
_PATIENCE_POLLS = 3
# Ray counts in ten-thousandths
_EPSILON = 1e-4


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a stage asks of a cluster.

    Args:
        stage: as in `Progress`.
        worker: what one worker is called, for example `rank`.
        each: resources of one worker, such as `{"CPU": 0.5}`; those of amount 0 are dropped.
        most: workers at once if there is room, >= 1.
        least: workers without which the stage cannot start, 1 to `most`.
        settings: what to lower where `least` workers find no room; "" if nothing helps.
    """

    stage: str
    worker: str
    each: Mapping[str, float]
    most: int
    least: int
    settings: str

    def __post_init__(self) -> None:
        assert 1 <= self.least <= self.most, self
        object.__setattr__(self, "each", {name: value for name, value in self.each.items() if value})

    @property
    def asked(self) -> str:
        """What one worker reserves, such as `1 CPU and 1 GPU`."""
        return " and ".join(_amount(value, name) for name, value in self.each.items())

    def fitting(self, nodes: Sequence[RayNode]) -> int:
        """How many workers these machines hold at once; a worker is never divided between two."""
        if not self.each:
            return self.most
        return sum(
            min(int(node.resources.get(name, 0.0) / value + _EPSILON) for name, value in self.each.items())
            for node in nodes
        )

    def refusal(self, nodes: Sequence[RayNode]) -> str:
        """Why these machines can never hold `least` workers, and what to do; "" if they can."""
        fitting = self.fitting(nodes)
        if fitting >= self.least:
            return ""
        absent = [name for name in self.each if not _sum(nodes, name)]
        if "GPU" in absent:
            there = f"{_machines(nodes)} no GPU"
            advice = "set ray.use_gpu=false, or join a cluster with GPUs (RAY_ADDRESS)"
        else:
            there = f"{_machines(nodes)} {_totals(nodes, self)}, room for {_count(fitting, self.worker)}"
            advice = f"{f'lower {self.settings}, or ' if self.settings else ''}use a larger cluster"
        one = f"{'an' if self.worker[0] in 'aeiou' else 'a'} {self.worker}"
        whom = f"{_count(self.least, self.worker)} at once" if self.least > 1 else one
        each = " each" if self.least > 1 else ""
        return f"{self.stage} needs {whom} with {self.asked}{each}, but {there}: {advice}"


def needs(experiment: Experiment) -> dict[str, Need]:
    """What each stage of an experiment asks of a cluster, in the order of the stages."""
    options = experiment.ray
    gpu = {"GPU": 1.0} if options.use_gpu else {}
    found = [
        Need(stage="ingest", worker="decoder", each={"CPU": 1.0}, most=1, least=1, settings=""),
        Need(
            stage="caption",
            worker="captioner",
            each={"CPU": 1.0, **gpu},
            most=options.num_captioners,
            least=1,
            settings="",
        ),
        Need(
            stage="train",
            worker="rank",
            each={"CPU": options.cpus_per_worker, **gpu},
            most=options.num_workers,
            least=options.num_workers,
            settings="ray.num_workers or ray.cpus_per_worker",
        ),
        Need(
            stage="tune",
            worker="trial",
            each={"CPU": 1.0, **gpu},
            most=min(experiment.tune.max_concurrent, experiment.tune.num_trials),
            least=1,
            settings="",
        ),
    ]
    if gpu:  # without a GPU a run is scored in the driver's own process
        found.append(Need(stage="evaluate", worker="task", each={"CPU": 1.0, **gpu}, most=1, least=1, settings=""))
    return {need.stage: need for need in found}


def nodes_here() -> list[RayNode]:
    """This machine as the Ray that a command starts here will count it."""
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
    from ray._private.utils import get_num_cpus

    num_gpus = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    return [RayNode(resources={"CPU": float(get_num_cpus()), "GPU": float(num_gpus)})]


def nodes_now() -> list[RayNode]:
    """The machines of the cluster that this process has joined."""
    import ray

    return [RayNode(resources=node["Resources"]) for node in ray.nodes() if node["Alive"]]


def grows() -> bool:
    """Whether an autoscaler adds machines to the cluster that this process has joined."""
    from ray._private import ray_constants
    from ray.autoscaler._private.util import format_readonly_node_type
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    client = _gcs()
    # Ray's second autoscaler names the kind of each machine that it started
    if any(node.ray_node_type_name for node in get_cluster_resource_state(client).node_states):
        return True
    status = json.loads(client.internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS.encode(), None) or b"{}")
    report = status.get("autoscaler_report") or {}
    kinds = {*(report.get("active_nodes") or {}), *(report.get("idle_nodes") or {})}
    # the first lists each machine of a fixed cluster as a kind of its own
    fixed = format_readonly_node_type("")
    return any(not kind.startswith((fixed, "local.cluster.node")) for kind in kinds)


def _gcs() -> Any:
    import ray
    from ray import _raylet

    return vars(_raylet)["GcsClient"](address=ray.get_runtime_context().gcs_address)


def require_room(need: Need) -> None:
    """Refuse what the joined cluster can never hold; one that grows is asked, and told of by `told_of_waiting`.

    Raises:
        ClusterError: what is asked, what there is, what to lower.
    """
    refusal = need.refusal(nodes_now())
    if refusal and not grows():
        raise ClusterError(refusal)


class Waiting:
    """Says what a stage waits for until it has begun (`told_of_waiting`)."""

    def __init__(self, need: Need, tell: Callable[[str], None]) -> None:
        self._need, self._tell = need, tell
        self._client = _gcs()
        self._has_begun = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name=f"waiting of {need.stage}")
        self._watcher.start()

    def end(self) -> None:
        """The stage has begun, or is over."""
        self._has_begun.set()
        self._watcher.join()

    def _watch(self) -> None:
        waited = 0
        while not self._has_begun.wait(_POLL_SECONDS):
            note = ""
            # Ray that goes down ends the stage with an error of its own; the watch has nothing to add
            with suppress(RuntimeError, ConnectionError, OSError):
                note = _waiting_note(self._need, self._client)
            waited = waited + 1 if note else 0
            if waited >= _PATIENCE_POLLS and not self._has_begun.is_set():
                self._tell(note)


@contextmanager
def told_of_waiting(need: Need, tell: Callable[[str], None]) -> Iterator[Waiting]:
    """While a stage has not begun, say what it waits for.

    Args:
        tell: where it is said, now and again.

    Yields:
        What is to be told when the stage has begun.

    Raises:
        ClusterError: as `require_room`.
    """
    require_room(need)
    waiting = Waiting(need, tell)
    try:
        yield waiting
    finally:
        waiting.end()


def with_note_of_room(need: Need, report: Report) -> Report:
    """A report that adds how many workers found room, where not all do."""
    fitting = need.fitting(nodes_now())
    if not need.least <= fitting < need.most:
        return report
    said = f"{fitting} of {_count(need.most, need.worker)} fit"

    def tell(told: Told) -> None:
        if isinstance(told, Progress):
            told = dataclasses.replace(told, note=", ".join(filter(None, (told.note, said))))
        report(told)

    return tell


def _waiting_note(need: Need, client: Any) -> str:
    """What is asked of Ray and not given yet; "" if nothing is."""
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    state = get_cluster_resource_state(client)
    asked = [one.request for one in state.pending_resource_requests for _ in range(one.count)]
    asked += [request for gang in state.pending_gang_resource_requests for request in gang.requests]
    num_waiting = sum(_is_of(request.resources_bundle, need) for request in asked)
    if not num_waiting:
        return ""
    nodes = [RayNode(resources=dict(node.total_resources)) for node in state.node_states]
    free = [RayNode(resources=dict(node.available_resources)) for node in state.node_states]
    whom = f"waits for {_count(num_waiting, need.worker)} with {need.asked}"
    if need.refusal(nodes):
        return f"{whom}: the autoscaler was asked for more machines, {_machines(nodes)} {_totals(nodes, need)} now"
    used = " and ".join(
        f"{_sum(nodes, name) - _sum(free, name):g} of {_amount(_sum(nodes, name), name)}" for name in need.each
    )
    return f"{whom}: {used} are in use, look at other jobs on this cluster"


def _is_of(bundle: Mapping[str, float], need: Need) -> bool:
    return all(abs(bundle.get(name, 0.0) - value) < _EPSILON for name, value in need.each.items())


def _totals(nodes: Sequence[RayNode], need: Need) -> str:
    return " and ".join(_amount(_sum(nodes, name), name) for name in need.each)


def _sum(nodes: Sequence[RayNode], name: str) -> float:
    return sum(node.resources.get(name, 0.0) for node in nodes)


def _amount(value: float, name: str) -> str:
    return f"{value:g} {name}{'s' if value != 1 and name in ('CPU', 'GPU') else ''}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _machines(nodes: Sequence[Any]) -> str:
    return "the machine has" if len(nodes) == 1 else f"the {len(nodes)} machines have"

"""What Ray says of a stage that failed, as one line: the user's mistake, or memory that ran out, or the last word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from conical.core.errors import ClusterError, ConicalError, UserError

_REASON_LENGTH = 300
# Ray's memory monitor: "was 3.57GB used / 23.54GB limit (0.15)", without the words before Ray 2.56
_NODE_MEMORY = re.compile(r"was ([\d.]+)GB(?: used)? / ([\d.]+)GB")
_THRESHOLD = re.compile(r"exceeded threshold of \d+B \(([\d.]+)%|usage threshold of ([\d.]+)")
_VICTIM = re.compile(r"task name=([^,]+),.*?actual memory used=([\d.]+)GB")
_GPU_MEMORY = re.compile(r"GPU \d+ has a total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free")
# Ray's words for a process that ended without a word of its own
_KILLED = "connection error code 2"
_GOES_ON = "and it goes on from what is finished"


def explain(error: BaseException, *, stage: str, lower: str, since: float) -> ConicalError:
    """An error of Ray's as one of ours.

    Args:
        error: what Ray raised.
        stage: what failed, as the message begins.
        lower: settings that ask for less memory.
        since: when the stage began, in seconds as of `time.time`.

    Returns:
        The user's own mistake if a worker met one, else a `ClusterError` of one line.
    """
    from ray.exceptions import NodeDiedError, RayActorError, WorkerCrashedError

    whole = list(_chain(error))
    for one in whole:
        if isinstance(one, UserError):
            return one
    texts = [str(one) for one in whole]
    is_lost = any(isinstance(one, (NodeDiedError, RayActorError, WorkerCrashedError)) for one in whole)
    # an exception while an actor is made comes as the death of the actor
    is_lost = (is_lost and not any("creation task" in text for text in texts)) or _KILLED in " ".join(texts)
    if is_lost:
        texts += _memory_kills(since)
    said = next(filter(None, map(_memory, texts)), "")
    if said:
        return ClusterError(
            f"{stage} ran out of memory ({said}): lower {lower}, end other programs, or use a larger machine; run it "
            f"again, {_GOES_ON}"
        )
    if is_lost:
        return ClusterError(
            f"{stage} lost a worker: its process was killed, by the system where memory runs out or by hand, or "
            "crashed in a library: look at the machine's memory and at logs/ray.log in the workspace, lower "
            f"{lower} if memory ran out, and run it again, {_GOES_ON}"
        )
    last = [line for line in texts[0].strip().splitlines() if line.strip()] or [type(error).__name__]
    return ClusterError(
        f"{stage} failed ({last[-1].strip()[:_REASON_LENGTH]}): see logs/ray.log in the workspace, then run it again, "
        f"{_GOES_ON}"
    )


def _memory_kills(since: float) -> list[str]:
    """What Ray wrote of each worker of this job that its memory monitor ended; an actor's own error does not tell."""
    import grpc
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import common_pb2, gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2  # made from a .proto: no names for a type checker
    kinds: Any = common_pb2
    context = ray.get_runtime_context()
    channel = init_grpc_channel(context.gcs_address)
    try:
        stub = gcs_service_pb2_grpc.WorkerInfoGcsServiceStub(channel)
        workers = stub.GetAllWorkerInfo(messages.GetAllWorkerInfoRequest(), timeout=5).worker_table_data
    except grpc.RpcError:
        return []  # the cluster is gone: its absence is what the error says
    finally:
        channel.close()
    ended = [
        worker
        for worker in workers
        if worker.exit_type == kinds.WorkerExitType.NODE_OUT_OF_MEMORY and worker.end_time_ms >= 1000 * since
    ]
    ours = f"job ID={context.get_job_id()}"
    latest_first = sorted(ended, key=lambda worker: -int(worker.end_time_ms))
    return [worker.exit_detail for worker in latest_first if ours in worker.exit_detail]


def _memory(text: str) -> str:
    """Whose memory ran out, how much was used and of how much; "" if none did."""
    if (node := _NODE_MEMORY.search(text)) and ("memory" in text):
        limit = _THRESHOLD.search(text)
        share = float(limit[1]) if limit and limit[1] else 100 * float(limit[2]) if limit else 0.0
        kill = f", where Ray ends workers at {share:.0f} %" if share else ""
        victims = [f"{name.strip()} with {used} GB" for name, used in _VICTIM.findall(text)]
        ended = f"; ended: {', '.join(victims)}" if victims else ""
        return f"{node[1]} GB of the machine's {node[2]} GB in use{kill}{ended}"
    if "CUDA out of memory" in text or "CUDA error: out of memory" in text:
        gpu = _GPU_MEMORY.search(text)
        return f"a GPU of {gpu[1]}, {gpu[2]} of it free" if gpu else "of a GPU"
    if "MemoryError" in text or "DefaultCPUAllocator" in text:
        return "the system refused a worker more of it"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what it wraps and what caused it, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [*getattr(one, "worker_failures", {}).values(), getattr(one, "controller_failure", None)]
        inner += [getattr(one, "cause", None), one.__cause__]
        waiting += [other for other in inner if isinstance(other, BaseException)]

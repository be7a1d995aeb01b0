"""Which Ray a command joins, known within seconds: Ray would try a dead address for a minute, then end the process."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conical.core.errors import ClusterError

_PROBE_SECONDS = 5.0
_ALLOWED = "host:port of the head (port 6379 by default), auto or local"
_UNSET = "or unset RAY_ADDRESS to run on this machine alone"
# `sockaddr_un` holds 108 bytes on Linux, 104 on macOS, one of them a zero
_SOCKET_PATH_BYTES = 103 if os.uname().sysname == "Darwin" else 107
# what Ray puts below its temporary folder: session_<date>_<time>_<microseconds>_<process>/sockets/<longest name>
_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """One machine of a cluster.

    Args:
        resources: name to amount, such as `{"CPU": 8.0, "GPU": 1.0}`.
    """

    resources: Mapping[str, float]


def ray_address() -> str | None:
    """host:port of the cluster to join: of `RAY_ADDRESS`, else of one that `ray start` left on this machine.

    Returns:
        None: Ray is to be started on this machine.

    Raises:
        ClusterError: `RAY_ADDRESS` is not an address of a cluster that this process can join, or none answers there.
    """
    from ray._private import services

    asked = os.environ.get("RAY_ADDRESS", "").strip()
    if not asked:
        left = services.find_bootstrap_address(None)
        return left if left and _is_listening(left) else None
    _refuse_form(asked)
    try:
        address = services.canonicalize_bootstrap_address(asked)
    except (ConnectionError, ValueError) as error:
        raise ClusterError(
            f"RAY_ADDRESS={asked}, but no Ray runs on this machine: start it with 'ray start --head', {_UNSET}"
        ) from error
    if address is not None:
        nodes_at(address, asked=asked)
    return address


def nodes_at(address: str, *, asked: str = "") -> list[RayNode]:
    """Machines of the cluster at an address that are alive; connects nothing.

    Args:
        address: host:port of the head.
        asked: the address as the user wrote it.

    Raises:
        ClusterError: nobody, or something else than this version of Ray, answers.
    """
    import grpc
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    name = f"Ray at {asked or address} ({'RAY_ADDRESS' if asked else 'a cluster on this machine'})"
    if not _is_listening(address):
        raise ClusterError(f"{name} does not answer: start it with 'ray start --head', mend the address, {_UNSET}")
    messages: Any = gcs_service_pb2  # made from a .proto: no names for a type checker
    channel = init_grpc_channel(address)
    try:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        alive = stub.CheckAlive(messages.CheckAliveRequest(), timeout=_PROBE_SECONDS)
        found = stub.GetAllNodeInfo(messages.GetAllNodeInfoRequest(), timeout=_PROBE_SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ClusterError(
                f"{name} asks for a token: export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as the cluster has it"
            ) from error
        raise ClusterError(
            f"{name} is no Ray head, though something listens there: RAY_ADDRESS must be {_ALLOWED}; the dashboard's "
            "port (8265) is for 'ray job submit' only"
        ) from error
    finally:
        channel.close()
    if alive.ray_version != ray.__version__:
        raise ClusterError(
            f"{name} runs ray {alive.ray_version}, this environment has {ray.__version__}: install the same version in "
            f"both, {_UNSET}"
        )
    return [RayNode(resources=dict(node.resources_total)) for node in found.node_info_list if node.state == 0]


def refuse_long_socket_paths() -> None:
    """Ray cannot start where its sockets would have too long a path.

    Raises:
        ClusterError: names the folder, and a shorter one.
    """
    from ray._common.utils import get_default_system_temp_dir

    folder = Path(get_default_system_temp_dir())
    length = len(os.fsencode(folder / _LONGEST_SOCKET))
    if length <= _SOCKET_PATH_BYTES:
        return
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    raise ClusterError(
        f"{variable}={folder} is too long for Ray: its sockets there would have paths of {length} bytes, at most "
        f"{_SOCKET_PATH_BYTES} are allowed: export RAY_TMPDIR=/tmp, or another folder of at most "
        f"{_SOCKET_PATH_BYTES - len(_LONGEST_SOCKET) - 1} bytes"
    )


def _refuse_form(asked: str) -> None:
    scheme, mark, rest = asked.partition("://")
    if mark and scheme in ("http", "https"):
        raise ClusterError(
            f"RAY_ADDRESS={asked} is a dashboard, which takes submitted jobs only: submit this stage with 'ray job "
            f"submit --working-dir . -- python jobs/STAGE.py', set RAY_ADDRESS to {_ALLOWED}, {_UNSET}"
        )
    if mark:
        what = "Ray Client, which Ray Train and Tune do not run on" if scheme == "ray" else "not an address of a head"
        host = rest.rpartition(":")[0] or rest
        dashboard = f"http://{host}:8265" if scheme == "ray" and host else "http://HEAD:8265"
        raise ClusterError(
            f"RAY_ADDRESS={asked} is {what}: submit this stage with 'ray job submit --address {dashboard} "
            f"--working-dir . -- python jobs/STAGE.py', or set RAY_ADDRESS to {_ALLOWED}"
        )
    host, _, port = asked.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
    if asked not in ("auto", "local") and not (host and is_port):
        raise ClusterError(f"RAY_ADDRESS must be {_ALLOWED}, got {asked!r}: mend it, {_UNSET}")


def _is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True

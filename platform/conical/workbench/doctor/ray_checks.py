"""What Ray needs: an address that answers, a folder for its sockets, free ports, room for the stages."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from conical.config import Experiment
from conical.core.errors import ClusterError
from conical.on_ray.address import nodes_at, ray_address, refuse_long_socket_paths
from conical.on_ray.room import needs, nodes_here
from conical.on_ray.session import prepare_environment
from conical.workbench.doctor.check_result import Check

# what `ray start --head` listens on whatever else is free, and the option that moves it; `ray.init` takes free ports
FIXED_PORTS = {
    6379: "--port",
    8265: "--dashboard-port",
    10001: "--ray-client-server-port",
    52365: "--dashboard-agent-listen-port",
}


def check_ray_auth() -> Check:
    """A stray token file switches authentication on for `ray start` but not for `ray job submit`, which gets 401."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if token.exists() and not mode:
        advice = "export RAY_AUTH_MODE=disabled (or token) in the shell that runs ray start and ray job submit"
        return Check(name="ray auth", status="warn", detail=f"{token} exists and RAY_AUTH_MODE is unset", advice=advice)
    return Check(name="ray auth", status="ok", detail=f"mode {mode or 'unset, no token file'}")


def check_ray_address() -> Check:
    """Whether the cluster that a stage would join answers, and is one that it can join."""
    asked = os.environ.get("RAY_ADDRESS", "")
    try:
        address = _address()
    except ClusterError as error:
        return _of_error("ray address", error)
    if address is None:
        return Check(name="ray address", status="ok", detail=f"{asked or 'unset'}: Ray starts on this machine")
    num_nodes = len(nodes_at(address))
    detail = f"{address} answers, {num_nodes} machine{'' if num_nodes == 1 else 's'}"
    return Check(name="ray address", status="ok", detail=detail)


def check_ray_folder() -> Check:
    """Ray's temporary folder: short enough for sockets, and writable."""
    from ray._common.utils import get_default_system_temp_dir

    folder = Path(get_default_system_temp_dir())
    try:
        refuse_long_socket_paths()
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
            pass
    except ClusterError as error:
        return _of_error("ray folder", error)
    except OSError as error:
        advice = "export RAY_TMPDIR=/tmp, or another folder you own"
        return Check(
            name="ray folder", status="fail", detail=f"{folder} cannot be written ({error.strerror})", advice=advice
        )
    return Check(name="ray folder", status="ok", detail=f"{folder} is short enough for sockets")


def check_ray_ports(ports: Mapping[int, str] = FIXED_PORTS) -> Check:
    """Ports of a head: a second one on this machine starts without what it cannot bind, such as submitted jobs."""
    taken = {port: option for port, option in ports.items() if _is_taken(port)}
    if not taken:
        return Check(name="ray ports", status="ok", detail=f"{', '.join(map(str, ports))} are free")
    options = " ".join(f"{option}=PORT" for option in taken.values())
    return Check(
        name="ray ports",
        status="warn",
        detail=f"{', '.join(map(str, taken))} in use",
        advice=f"fine if by your own head, and for stages that start Ray here; a second 'ray start --head' needs "
        f"{options}, or submitted jobs never start",
    )


def check_ray_dashboard() -> Check:
    """Ray's dashboard: trials stopped early free their resources only while it runs."""
    try:
        import ray.dashboard.optional_deps  # noqa: F401 - what ray[default] adds
    except ImportError as error:
        detail = f"cannot be imported ({error.name})"
        return Check(
            name="ray dashboard", status="fail", detail=detail, advice="pip install 'ray[default]', or make setup"
        )
    return Check(name="ray dashboard", status="ok", detail="importable")


def check_room(experiment: Experiment) -> Check:
    """Whether every stage of an experiment finds the CPUs and GPUs that it asks for."""
    try:
        address = _address()
        nodes = nodes_here() if address is None else nodes_at(address)
    except ClusterError:
        return Check(name="room", status="warn", detail="not known", advice="mend the address of Ray first")
    refusals = [refusal for need in needs(experiment).values() if (refusal := need.refusal(nodes))]
    if not refusals:
        cpus, gpus = (sum(node.resources.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
        return Check(name="room", status="ok", detail=f"{cpus:g} CPUs and {gpus:g} GPUs hold every stage")
    detail, _, advice = refusals[0].rpartition(": ")
    more = f"; so for {len(refusals) - 1} more stages" if len(refusals) > 1 else ""
    if address is None:
        return Check(name="room", status="fail", detail=detail, advice=f"{advice}{more}")
    return Check(
        name="room", status="warn", detail=f"{detail} now", advice=f"fine if it grows by itself, else {advice}{more}"
    )


def _address() -> str | None:
    prepare_environment()
    return ray_address()


def _of_error(name: str, error: ClusterError) -> Check:
    detail, _, advice = str(error).partition(": ")
    return Check(name=name, status="fail", detail=detail, advice=advice)


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server: what is closing is free
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False

"""MLflow's pages on loopback, and the addresses in them worth opening."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from conical.core.errors import ClusterError
from conical.tracking.mlflow_tracker import MlflowTracker
from conical.tracking.view import VIEW_KEY, VIEW_TAG


def view_links(uri: str, artifacts: Path, *, port: int) -> dict[str, str]:
    """Experiment to the address of its saved view; empty before anything was tracked."""
    client = MlflowTracker(uri, "", artifacts=artifacts).client
    experiments = [found for found in client.search_experiments() if VIEW_TAG in found.tags]
    # MLflow remembers which of its two faces was open last and starts with the one for chat applications
    query = f"viewStateShareKey={VIEW_KEY}&workflowType=machine_learning"
    base = f"http://127.0.0.1:{port}/#/experiments"
    return {found.name: f"{base}/{found.experiment_id}/runs?{query}" for found in experiments}


def require_free_port(port: int) -> None:
    """Raise if something listens at a port of this machine.

    Raises:
        ClusterError: the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ClusterError(f"port {port} is in use: choose another with --port (make ui PORT=...)") from error


def serve_ui(uri: str, artifacts: Path, *, port: int) -> int:
    """Run MLflow's server on loopback until it is interrupted.

    Args:
        port: a free one.

    Returns:
        Its exit code.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--default-artifact-root", artifacts.as_uri(), "--workers", "1"]
    with subprocess.Popen(command, start_new_session=True) as server:
        # whoever ends us ends the server: its own processes are in a group of their own
        before = signal.signal(signal.SIGTERM, lambda *_: _end(server))
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(server)
            signal.signal(signal.SIGTERM, before)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server and its workers."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)

"""Joining Ray: whether a cluster answers is known before Ray would try for a minute."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import conical
from conical.core.errors import ClusterError
from conical.on_ray import session


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_cluster_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = f"127.0.0.1:{_free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    message = (
        rf"^Ray at {address} \(RAY_ADDRESS\) does not answer: start it with 'ray start --head', .*unset RAY_ADDRESS"
    )
    with pytest.raises(ClusterError, match=message) as caught:
        session.connect(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError("no space"),
        RuntimeError("first\nsecond"),
        ValueError("x"),
        TimeoutError(),
        Exception("The current node timed out during startup."),
    ],
)
def test_a_ray_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", fail)
    with pytest.raises(
        ClusterError, match=r"^Ray at this machine cannot be used \(.+\): look with 'conical doctor', end other"
    ) as one:
        session.connect(tmp_path)
    assert "\n" not in str(one.value)


def test_a_temporary_folder_too_long_for_ray_is_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 60)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ClusterError, match="is too long for Ray"):
        session.connect(tmp_path)


def test_rays_chatter_goes_to_one_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "_CHATTY", ("conical-test-chatter",))
    logger = logging.getLogger("conical-test-chatter")
    logger.addHandler(logging.StreamHandler())
    path = tmp_path / "logs" / "ray.log"
    session._send_chatter_to(path)
    session._send_chatter_to(path)
    logger.info("hello")
    try:
        assert path.read_text(encoding="utf-8") == "hello\n"
        assert not logger.propagate
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def test_ray_data_is_imported_before_its_loggers_are_sent_to_a_file() -> None:
    # its import sets up loggers anew: after `connect` it would put Ray's lines back on the terminal
    program = "import sys, conical.on_ray.ingest; print('ray.data' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(conical.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"

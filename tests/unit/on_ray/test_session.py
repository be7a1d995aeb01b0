"""Joining Ray: whether a cluster answers is known before Ray would try for a minute."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import conical
from conical.core.errors import ClusterError
from conical.on_ray import session


@pytest.fixture
def listening_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_listening_address_answers(listening_port: int, scheme: str) -> None:
    assert session._answers(f"{scheme}127.0.0.1:{listening_port}")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_closed_port_does_not_answer(scheme: str) -> None:
    assert not session._answers(f"{scheme}127.0.0.1:{_free_port()}")


@pytest.mark.parametrize("address", ["auto", "anyscale://x", "somewhere"])
def test_an_address_without_a_port_is_left_to_ray(address: str) -> None:
    assert session._answers(address)


def test_a_cluster_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = f"127.0.0.1:{_free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    message = (
        rf"^Ray at {address} \(RAY_ADDRESS\) does not answer: start it with 'ray start --head', .*unset RAY_ADDRESS"
    )
    with pytest.raises(ClusterError, match=message) as caught:
        session.connect(tmp_path)
    assert "\n" not in str(caught.value)


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

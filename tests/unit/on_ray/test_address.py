"""`RAY_ADDRESS` of every kind: joined, or refused in one line within seconds, before Ray would try for a minute."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from conical.core.errors import ClusterError
from conical.on_ray import address


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody who listens and is not Ray: each caller is hung up on."""
    with socket.create_server(("", 0)) as server:
        is_over = threading.Event()

        def hang_up() -> None:
            while not is_over.is_set():
                caller, _ = server.accept()
                caller.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        is_over.set()
        socket.create_connection(("127.0.0.1", server.getsockname()[1])).close()
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def refused(monkeypatch: pytest.MonkeyPatch, value: str) -> str:
    monkeypatch.setenv("RAY_ADDRESS", value)
    with pytest.raises(ClusterError) as caught:
        address.ray_address()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", ["http://127.0.0.1:8265", "https://head.example", "http://"])
def test_a_dashboards_address_is_for_submitted_jobs(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    said = refused(monkeypatch, value)
    assert said.startswith(f"RAY_ADDRESS={value} is a dashboard, which takes submitted jobs only: ")
    assert "ray job submit --working-dir . -- python jobs/STAGE.py" in said
    assert said.endswith("or unset RAY_ADDRESS to run on this machine alone")


@pytest.mark.parametrize(
    ("value", "dashboard"),
    [("ray://10.0.0.1:10001", "http://10.0.0.1:8265"), ("ray://head", "http://head:8265"), ("ray://", "http://HEAD:")],
)
def test_ray_clients_address_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, dashboard: str) -> None:
    said = refused(monkeypatch, value)
    assert said.startswith(f"RAY_ADDRESS={value} is Ray Client, which Ray Train and Tune do not run on: ")
    assert dashboard in said


@pytest.mark.parametrize(
    "value", ["garbage", "host:", ":6379", "127.0.0.1:99999", "127.0.0.1:0", "host:port", "127.0.0.1:６３７９"]
)
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused(monkeypatch, value).startswith(
        "RAY_ADDRESS must be host:port of the head (port 6379 by default), auto or local, got "
    )


def test_an_unknown_scheme_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "anyscale://x is not an address of a head: " in refused(monkeypatch, "anyscale://x")


def test_a_cluster_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    value = f"127.0.0.1:{free_port()}"
    assert refused(monkeypatch, value) == (
        f"Ray at {value} (RAY_ADDRESS) does not answer: start it with 'ray start --head', mend the address, or unset "
        "RAY_ADDRESS to run on this machine alone"
    )


def test_something_else_than_ray_is_told_from_a_head(monkeypatch: pytest.MonkeyPatch, silent_port: int) -> None:
    said = refused(monkeypatch, f"127.0.0.1:{silent_port}")
    assert "is no Ray head, though something listens there" in said
    assert "(8265) is for 'ray job submit' only" in said


def test_auto_without_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(value: str) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", none)
    assert refused(monkeypatch, "auto").startswith("RAY_ADDRESS=auto, but no Ray runs on this machine: start it with")


@pytest.mark.parametrize("value", ["local", "", "  "])
def test_local_and_unset_start_ray_here(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda folder: None)
    assert address.ray_address() is None


def test_a_cluster_that_was_left_here_and_is_dead_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda folder: f"127.0.0.1:{free_port()}")
    assert address.ray_address() is None


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_too_long_for_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, "/tmp/" + "x" * 60)
    with pytest.raises(
        ClusterError, match=rf"^{variable}=/tmp/x+ is too long for Ray: .* 13\d bytes, at most 107"
    ) as one:
        address.refuse_long_socket_paths()
    assert "export RAY_TMPDIR=/tmp, or another folder of at most 39 bytes" in str(one.value)


def test_the_longest_folder_that_is_allowed_is_as_long_as_the_message_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * 38)
    address.refuse_long_socket_paths()
    monkeypatch.setenv("RAY_TMPDIR", "/" + "é" * 20)
    with pytest.raises(ClusterError, match="at most 39 bytes"):
        address.refuse_long_socket_paths()

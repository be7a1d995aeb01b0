"""Real MLflow on SQLite: few requests, a tree of runs, nothing left running."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

import conical
from conical.core.errors import ClusterError, StoreError
from conical.store import Workspace
from conical.tracking import MlflowTracker, check, require_free_port, serve_ui
from conical.tracking import server as module
from conical.tracking.mlflow_tracker import legal_name


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> MlflowTracker:
    """One database for all: MLflow makes its tables in seconds; tests use experiments of their own."""
    folder = tmp_path_factory.mktemp("mlflow")
    return MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}", "shared", artifacts=folder / "artifacts")


@pytest.fixture
def own(tracker: MlflowTracker, request: pytest.FixtureRequest) -> MlflowTracker:
    """The same database, an experiment named after the test."""
    assert tracker.client
    return MlflowTracker(tracker.uri, request.node.name, artifacts=tracker.artifacts)


class CountingClient:
    """Passes on to a client and notes the names of the calls."""

    def __init__(self, client: object) -> None:
        self._client = client
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        self.calls.append(name)
        return getattr(self._client, name)


def _counted(tracker: MlflowTracker) -> list[str]:
    client = CountingClient(tracker.client)
    tracker.__dict__["client"] = client
    return client.calls


def test_a_trial_is_a_child_of_its_sweep(own: MlflowTracker) -> None:
    sweep = own.start("sweep", params={}, tags={"conical.sweep": "k"})
    trials = [own.start(f"trial {number}", params={"n": str(number)}, tags={}, parent=sweep) for number in range(2)]
    found = own.client.search_runs([own.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{sweep}'")
    assert {run.info.run_id for run in found} == set(trials)
    parent = own.client.get_run(sweep)
    assert parent.info.run_name == "sweep"
    assert parent.data.tags["conical.sweep"] == "k"
    assert "mlflow.parentRunId" not in parent.data.tags


def test_a_report_is_one_request(own: MlflowTracker) -> None:
    run = own.start("run", params={}, tags={})
    calls = _counted(own)
    steps = [(step, {"step/loss": float(step), "step/grad_norm": 1.0}) for step in range(40)]
    own.log(run, [*steps, (1, {f"val/raw/t2v/{name}": 1.0 for name in ("R1", "R5", "R10", "MedR", "MeanR")})])
    assert calls == ["log_batch"]
    history = own.client.get_metric_history(run, "step/loss")
    assert [(point.step, point.value) for point in history] == [(step, float(step)) for step in range(40)]
    assert own.client.get_run(run).data.metrics["val/raw/t2v/R1"] == 1.0


def test_more_metrics_than_a_request_takes_are_all_logged(own: MlflowTracker) -> None:
    run = own.start("run", params={}, tags={})
    calls = _counted(own)
    own.log(run, [(step, {"step/loss": 0.5, "step/rate": 0.1}) for step in range(600)])
    assert calls == ["log_batch", "log_batch"]
    assert len(own.client.get_metric_history(run, "step/rate")) == 600


def test_more_params_than_a_request_takes_are_all_logged(own: MlflowTracker) -> None:
    params = {f"table.key{number}": str(number) for number in range(230)} | {"long": "x" * 9000}
    run = own.start("run", params=params, tags={})
    found = own.client.get_run(run).data.params
    assert found.keys() == params.keys()
    assert found["table.key229"] == "229"
    assert found["long"] == "x" * 6000


def test_an_ended_run_goes_on_and_ends_again(own: MlflowTracker) -> None:
    run = own.start("run", params={"a": "1"}, tags={})
    own.log(run, [(0, {"loss": 2.0})])
    assert own.running() == [run]
    own.finish(run, status="KILLED")
    assert own.running() == []
    again = MlflowTracker(own.uri, own.experiment, artifacts=own.artifacts)
    assert again.has(run)
    again.finish(run, status="RUNNING")
    again.log(run, [(1, {"loss": 1.0})])
    assert again.running() == [run]
    again.finish(run)
    found = again.client.get_run(run)
    assert (found.info.status, found.data.params) == ("FINISHED", {"a": "1"})
    assert [point.value for point in again.client.get_metric_history(run, "loss")] == [2.0, 1.0]
    assert again.running() == []


def test_a_deleted_or_unknown_run_is_not_there(own: MlflowTracker) -> None:
    run = own.start("run", params={}, tags={})
    assert own.has(run)
    own.client.delete_run(run)
    assert not own.has(run)
    assert not own.has("0" * 32)


def test_tags_change_and_files_become_artefacts(own: MlflowTracker, tmp_path: Path) -> None:
    run = own.start("run", params={}, tags={"conical.status": "running"})
    own.tag(run, {"conical.status": "finished", "conical.test_looks": "1"})
    (tmp_path / "ranks.json").write_text("[1, 2]")
    own.log_files(run, tmp_path, under="evaluation")
    tags = own.client.get_run(run).data.tags
    assert (tags["conical.status"], tags["conical.test_looks"]) == ("finished", "1")
    assert [item.path for item in own.client.list_artifacts(run, "evaluation")] == ["evaluation/ranks.json"]
    stored = list((own.artifacts / own.experiment).rglob("ranks.json"))
    assert [path.read_text() for path in stored] == ["[1, 2]"]


def test_an_experiment_is_made_once(own: MlflowTracker) -> None:
    again = MlflowTracker(own.uri, own.experiment, artifacts=own.artifacts)
    assert again.experiment_id == own.experiment_id


def test_a_name_with_an_at_sign_is_not_hidden(own: MlflowTracker) -> None:
    from mlflow.exceptions import MlflowException

    run = own.start("run", params={}, tags={})
    with pytest.raises(MlflowException, match="R@1"):
        own.log(run, [(0, {"val/raw/t2v/R@1": 1.0})])


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.timeout(60)  # MLflow's own patience is four minutes
def test_a_server_that_is_away_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    uri = f"http://127.0.0.1:{_closed_port()}"
    with pytest.raises(
        ClusterError, match=rf"MLflow at {uri} does not answer \(.*\): start the server or mend"
    ) as caught:
        MlflowTracker(uri, "x", artifacts=tmp_path).start("run", params={}, tags={})
    assert "\n" not in str(caught.value)
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to be read as a header of one " * 20)
    with pytest.raises(ClusterError, match=r"MLflow at sqlite:///.*mlflow.db does not answer") as caught:
        assert MlflowTracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "x", artifacts=tmp_path).client
    assert "\n" not in str(caught.value)


def test_the_database_is_the_one_that_was_named(tracker: MlflowTracker) -> None:
    assert tracker.client
    with sqlite3.connect(tracker.uri.removeprefix("sqlite:///")) as database:
        assert database.execute("select count(*) from experiments").fetchone()[0] >= 1


def test_the_doctors_check_writes_and_reads_a_run() -> None:
    import mlflow

    assert check() == mlflow.__version__


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ClusterError, match=rf"port {port} is in use: choose another with --port"):
            require_free_port(port)


class FakeServer(subprocess.Popen):
    """In place of MLflow's server: a process that answers nothing and notes the command."""

    commands: ClassVar[list[list[str]]] = []
    program: ClassVar[str] = "import time; time.sleep(60)"

    def __init__(self, command: list[str], **options: Any) -> None:
        self.commands.append(command)
        super().__init__([sys.executable, "-c", self.program], **options)


@pytest.fixture
def fake_server(monkeypatch: pytest.MonkeyPatch) -> type[FakeServer]:
    FakeServer.commands.clear()
    monkeypatch.setattr(module.subprocess, "Popen", FakeServer)
    return FakeServer


def test_the_pages_are_served_on_loopback_alone(tmp_path: Path, monkeypatch, fake_server: type[FakeServer]) -> None:
    monkeypatch.setattr(fake_server, "program", "raise SystemExit(7)")
    port = _closed_port()
    assert serve_ui("sqlite:///x.db", tmp_path, port=port) == 7
    (command,) = fake_server.commands
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    pairs = dict(zip(command[4::2], command[5::2], strict=True))
    assert pairs["--host"] == "127.0.0.1"
    assert pairs["--port"] == str(port)
    assert pairs["--backend-store-uri"] == "sqlite:///x.db"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_whoever_ends_the_command_ends_the_server(tmp_path: Path, fake_server: type[FakeServer], how: int) -> None:
    started: list[subprocess.Popen] = []
    begin = fake_server.__init__

    def note(self: FakeServer, command: list[str], **options: Any) -> None:
        begin(self, command, **options)
        started.append(self)
        threading.Timer(0.5, os.kill, (os.getpid(), how)).start()

    fake_server.__init__ = note
    try:
        code = serve_ui("sqlite:///x.db", tmp_path, port=_closed_port())
    finally:
        fake_server.__init__ = begin
    assert code == (0 if how == signal.SIGINT else -signal.SIGTERM)
    (server,) = started
    assert server.wait(timeout=10) == -signal.SIGTERM


@pytest.mark.parametrize("name", ["mix.Q&A", "tags with spaces", "über", "a@b", "../x", "x" * 400, "tab\there"])
def test_any_name_of_a_param_or_tag_is_logged_under_one_that_is_allowed(own: MlflowTracker, name: str) -> None:
    run_id = own.start("run", params={name: "1", "plain": "2"}, tags={name: "3"})
    run = own.client.get_run(run_id)
    assert run.data.params == {legal_name(name): "1", "plain": "2"}
    assert run.data.tags[legal_name(name)] == "3"


def test_different_names_stay_different() -> None:
    names = ["Q&A", "Q@A", "Q_A", "Q A", "Q/A"]
    assert len({legal_name(name) for name in names}) == len(names)


def test_a_run_that_is_refused_leaves_nothing_behind(own: MlflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("no such param")

    monkeypatch.setattr(own.client, "log_batch", refuse)
    with pytest.raises(StoreError, match=r"MLflow refuses run 'run' \(.*no such param.*\): mend the setting"):
        own.start("run", params={"a": "1"}, tags={"conical.key": "k"})
    monkeypatch.undo()
    assert own.find_running("k") is None
    assert own.running() == []


def test_a_run_whose_process_died_before_its_key_was_written_is_not_adopted(own: MlflowTracker, monkeypatch) -> None:
    class Death(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Death

    monkeypatch.setattr(own, "tag", die)
    with pytest.raises(Death):
        own.start("run", params={"a": "1"}, tags={"conical.key": "k"})
    assert own.find_running("k") is None


def test_a_deleted_experiment_is_named_with_what_to_do(own: MlflowTracker) -> None:
    own.client.delete_experiment(own.experiment_id)
    again = MlflowTracker(own.uri, own.experiment, artifacts=own.artifacts)
    with pytest.raises(StoreError, match=r"was deleted in MLflow: restore it \(mlflow experiments restore"):
        again.start("run", params={}, tags={})


def test_several_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from conical.tracking import MlflowTracker; folder = Path(sys.argv[1]);"
        "MlflowTracker(f'sqlite:///{folder}/mlflow.db', 'new', artifacts=folder).start('run', params={}, tags={})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(conical.__file__).parent.parent)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    results = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert [code for _, code in results] == [0, 0, 0], results
    tracker = MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db", "new", artifacts=tmp_path)
    assert len(tracker.running()) == 3


@pytest.mark.parametrize("name", ["a?b", "a#b", "50%"])
def test_a_workspace_that_mlflow_cannot_address_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="in its path, which MLflow reads as an address"):
        _ = Workspace(tmp_path / name).tracking_uri

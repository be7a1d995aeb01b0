"""Whatever is wrong, `conical` ends with code 2 and one line that says so, and leaves nothing half written."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import conical
import forked_cli
from conical.config import load_experiment
from conical.store import Workspace
from ingested_stores import write_stores

HUMAN_ONLY = ("--set", "mix={human=1.0, A=0.0, B=0.0}", "--set", "tune.space={'loss.tau_tv'={uniform=[1.0, 9.0]}}")
NUM_TRAIN = 6


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command left."""

    code: int
    stderr: str
    files: frozenset[str]


def _environment(workspace: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(conical.__file__).parent.parent),
        "CONICAL_WORKSPACE": str(workspace),
        "HF_HUB_OFFLINE": "1",
        "RAY_ADDRESS": "127.0.0.1:1",  # whatever got as far as Ray would say so
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """The process that commands are forked from."""
    command = [sys.executable, str(Path(forked_cli.__file__))]
    environment = _environment(tmp_path_factory.mktemp("server"))
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def run(tmp_path: Path, server):
    """Runs `conical ...` on a workspace of its own and looks at what is new in it."""

    def call(*words: str, workspace: Path = tmp_path / "workspace") -> Outcome:
        before = _files(workspace)
        stderr = tmp_path / "stderr"
        order = {"words": words, "environment": _environment(workspace), "stderr": str(stderr)}
        print(json.dumps(order), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return Outcome(code, stderr.read_text(), _files(workspace) - before)

    return call


def _files(workspace: Path) -> frozenset[str]:
    """Files of a workspace but for what libraries have to say."""
    if not workspace.is_dir():
        return frozenset()
    paths = (path.relative_to(workspace) for path in workspace.rglob("*") if path.is_file())
    return frozenset(str(path) for path in paths if path.parts[0] != "logs")


def check(outcome: Outcome, message: str) -> None:
    """Code 2, one line that fits, nothing written."""
    assert outcome.code == 2, outcome.stderr
    assert outcome.stderr.startswith("conical: "), outcome.stderr
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert re.search(message, outcome.stderr), outcome.stderr
    assert outcome.files == frozenset()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("train", "--set", "loss.tau_tvv=40"),
            r"unknown key 'loss\.tau_tvv': allowed in \[loss\].* Did you mean 'tau_tv'",
        ),
        (("train", "--set", "loss.tau_tv=fast"), r"loss\.tau_tv must be a valid number, got 'fast'"),
        (("tune", "--set", "select_by=test/raw/t2v/R1"), r"select_by must be of the val split"),
        (("ingest", "--config", "gone.toml"), r"config gone\.toml cannot be read \(No such file or directory\)"),
        (("train", "--set", "seed"), "--set takes KEY=VALUE, got 'seed'"),
    ],
    ids=["unknown-key", "wrong-type", "impossible-value", "missing-file", "no-value"],
)
def test_a_mistake_in_the_settings(run, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    check(run(*words), message)
    assert not (tmp_path / "workspace").exists(), "settings are checked before anything is made"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trian",), r"No such command 'trian'.*: see 'conical --help'"),
        (("train", "--bogus"), "No such option: --bogus.*: see 'conical --help'"),
        (("train", "--epochs", "3"), "No such option: --epochs.*: --set optim.epochs=3$"),
        (("train", "--seed=7"), "No such option: --seed.*: --set seed=7$"),
        (("ui", "--port", "x"), "Invalid value for '--port'.*: see 'conical --help'"),
        (("compare", "a"), "Missing argument 'b'.*: see 'conical --help'"),
    ],
    ids=["command", "option", "setting", "setting with =", "value", "argument"],
)
def test_a_mistake_in_the_arguments(run, words: tuple[str, ...], message: str) -> None:
    check(run(*words), message)


@pytest.mark.parametrize("folder", ["/dev/null/x", "file"])
def test_a_workspace_that_cannot_be_written(run, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    message = "workspace .* cannot be written .*: set CONICAL_WORKSPACE to a folder you own"
    check(run("ingest", workspace=tmp_path / folder), message)


def test_training_before_ingest(run) -> None:
    check(run("train", *HUMAN_ONLY), "dataset 'scenes' has no frames of recipe .*: run ingest first")


def test_a_mix_of_prompts_that_are_not_captioned(run) -> None:
    words = ("--set", "captions.prompts=['A', 'B']", "--set", "mix={human=0.5, A=0.0, B=0.0, C=0.5}")
    check(run("train", *words), "mix takes supplements of prompt C, but captions.prompts is A, B: add the prompt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "nope"), "run 'nope' is not in .*: there is no run yet, train first"),
        (("report",), "'demo' has no scored run in .*: run train, then evaluate"),
    ],
    ids=["unknown-run", "report"],
)
def test_results_that_do_not_exist(run, words: tuple[str, ...], message: str) -> None:
    check(run(*words), message)


def test_a_port_in_use(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        check(run("ui", "--port", port), f"port {port} is in use: choose another with --port")


@pytest.fixture
def ingested(tmp_path: Path, small_clip) -> tuple[Path, list[str]]:
    """A workspace as ingest leaves it, and the settings that find it."""
    settings = [
        f"model.name={small_clip.name}",
        f"model.weights={small_clip.weights}",
        "frames.size=32",
        "frames.num_frames=2",
    ]
    words = [*HUMAN_ONLY, *(word for setting in settings for word in ("--set", setting))]
    experiment = load_experiment(None, words[1::2])
    workspace = Workspace.open(tmp_path / "ingested")
    write_stores(experiment, workspace, {"train": NUM_TRAIN, "val": 2, "test": 2})
    return workspace.root, words


def test_a_batch_larger_than_the_split(run, ingested) -> None:
    root, words = ingested
    outcome = run("train", *words, "--set", "optim.batch_size=50", workspace=root)
    outcome = dataclasses.replace(outcome, files=_but_for_the_cache(outcome.files))
    check(outcome, rf"optim\.batch_size must be at most the {NUM_TRAIN} rows of an epoch .*, got 50: lower it or raise")


def test_a_cluster_that_is_away(run, ingested) -> None:
    root, words = ingested
    outcome = run("train", *words, "--set", "optim.batch_size=4", workspace=root)
    outcome = dataclasses.replace(outcome, files=_but_for_the_cache(outcome.files))
    check(outcome, r"Ray at 127\.0\.0\.1:1 \(RAY_ADDRESS\) does not answer: start it with 'ray start --head'")


def test_a_tracking_server_that_is_away(run, ingested) -> None:
    root, words = ingested
    uri = "http://127.0.0.1:1"
    settings = ("optim.batch_size=4", "optim.epochs=0", f"tracking.uri={uri}")  # no epochs: a run without Ray
    outcome = run("train", *words, *(word for setting in settings for word in ("--set", setting)), workspace=root)
    outcome = dataclasses.replace(outcome, files=_but_for_the_cache(outcome.files))
    check(outcome, f"MLflow at {uri} does not answer")


def _but_for_the_cache(files: frozenset[str]) -> frozenset[str]:
    """The map of the frames is whole, and derived: it may stay."""
    return frozenset(path for path in files if not path.startswith("cache/"))


def test_debug_shows_where(run) -> None:
    outcome = run("train", "--debug", *HUMAN_ONLY)
    assert outcome.code == 2
    assert "Traceback" in outcome.stderr
    assert "run ingest first" in outcome.stderr.splitlines()[-1]

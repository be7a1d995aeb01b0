"""`ray job submit` to a head whose Python has not got this package: with and without an uploaded folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from conical.store import Workspace, read_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
RAY = "import sys; from ray.scripts.scripts import main; sys.exit(main())"


@dataclass(frozen=True)
class Head:
    """A running head.

    Args:
        python: interpreter of its environment, without `conical`.
        environment: variables it was started with.
        dashboard: address jobs are submitted to.
    """

    python: Path
    environment: dict[str, str]
    dashboard: str


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, held all at once so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in sockets]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with all of our libraries and without us.

    A `.pth` file lends it the packages of this one; `.pth` files in there are not read, so an editable install, which
    is nothing else, does not come along.
    """
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    (site_packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def head(bare_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    port, dashboard, agent, client = _free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_"))}
    environment |= {
        "PATH": f"{bare_python.parent}{os.pathsep}{os.environ['PATH']}",
        "CONICAL_WORKSPACE": str(folder / "workspace"),
        "HF_HUB_OFFLINE": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    # a folder of its own for Ray: sockets have short names, and other clusters of this machine are not to be found
    with subprocess.Popen(["mktemp", "-d", "/tmp/ray-conical-XXXX"], stdout=subprocess.PIPE, text=True) as made:
        temporary = made.communicate()[0].strip()
    words = ["start", "--head", "--block", "--num-cpus=2", "--dashboard-host=127.0.0.1", f"--temp-dir={temporary}"]
    words += [f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    words += [f"--ray-client-server-port={client}", "--include-dashboard=true", "--disable-usage-stats"]
    with (
        (folder / "head.log").open("w") as log,
        # in the checkout: there a job without a folder of its own runs
        subprocess.Popen(
            [str(bare_python), "-c", RAY, *words], cwd=ROOT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            address = f"http://127.0.0.1:{dashboard}"
            _wait_for(address, process, folder / "head.log")
            yield Head(bare_python, environment, address)
        finally:
            _end(process)
    subprocess.run(["rm", "-rf", temporary], check=True)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/api/version", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def _end(process: subprocess.Popen) -> None:
    """End the head and all below it, and nothing else: `ray stop` would end every Ray of this machine."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        if member.is_running():
            member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=30)


def submit(head: Head, settings: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit ... -- python jobs/tune.py ...`, waiting for the job's end."""
    sets = [word for setting in settings for word in ("--set", setting)]
    command = [str(head.python), "-c", RAY, "job", "submit", "--address", head.dashboard, *options]
    command += ["--", "python", "jobs/tune.py", *sets]
    return subprocess.run(command, cwd=ROOT, env=head.environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def settings(small_clip) -> list[str]:
    return [
        "dataset.scenes={train=8, val=4, test=4}",
        f"model.name={small_clip.name}",
        f"model.weights={small_clip.weights}",
        "frames={size=32, num_frames=2}",
        "mix={human=1.0,A=0.0,B=0.0}",
        "optim={epochs=1, batch_size=4}",
        "tune={num_trials=2, max_concurrent=2, space={seed={choice=[0,1,2,3]}}}",
        "evaluate.num_resamples=100",
    ]


def check_sweep(workspace: str) -> None:
    (path,) = Workspace(Path(workspace)).experiment("demo").glob("sweeps/*/sweep.json")
    sweep = read_sweep(path)
    assert sweep is not None
    assert sweep.is_finished
    assert len(sweep.trials) == 2
    assert (path.parents[2] / "runs" / sweep.best.run_key / "evaluation" / "test-raw.json").is_file()


def test_the_heads_environment_has_not_got_the_package(head: Head, tmp_path: Path) -> None:
    found = subprocess.run(
        [str(head.python), "-c", "import ray, torch, conical"],
        cwd=tmp_path,
        env=head.environment,
        capture_output=True,
        text=True,
    )
    assert "No module named 'conical'" in found.stderr


def test_a_job_without_a_folder_runs_where_the_head_was_started(head: Head, settings: list[str]) -> None:
    done = submit(head, settings)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "best of 2 trials by val/raw/t2v/R1" in done.stdout
    check_sweep(head.environment["CONICAL_WORKSPACE"])


def test_a_job_with_the_uploaded_checkout_runs_from_the_upload(head: Head, settings: list[str], tmp_path: Path) -> None:
    workspace = str(tmp_path / "workspace")
    variables = json.dumps({"env_vars": {"CONICAL_WORKSPACE": workspace, "HF_HUB_OFFLINE": "1"}})
    done = submit(head, settings, "--working-dir", ".", "--runtime-env-json", variables)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "best of 2 trials by val/raw/t2v/R1" in done.stdout
    check_sweep(workspace)

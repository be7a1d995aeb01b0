"""The links of `conical ui` opened in a browser: MLflow's own pages show our view, table and report.

The form of the saved view is MLflow's own business; when it changes, this test says so.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conical.config import Experiment
from conical.runs.report.publish import REPORT_KEY, publish_report
from conical.store import Workspace
from conical.tracking import MlflowTracker, view_links
from conical.tracking.view import experiment_tags
from headless_chromium import Chromium, open_chromium, require_chromium

_FINAL = {
    f"test/{direction} {metric}": 12.34 for direction in ("t2v", "v2t") for metric in ("R1", "R5", "R10", "MeanR")
}


@dataclass(frozen=True)
class Served:
    tracker: MlflowTracker
    base: str
    link: str
    run: str
    report: str


pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    require_chromium()
    workspace = Workspace.open(tmp_path_factory.mktemp("ui") / "w")
    tracker = MlflowTracker(workspace.tracking_uri, "shown", artifacts=workspace.artifacts)
    run = tracker.start("a run", params={"seed": "0"}, tags={"mlflow.note.content": "what it is"})
    tracker.log(run, [(0, _FINAL), (1, {"val/t2v R1": 5.0}), (2, {"val/t2v R1": 6.0})])
    tracker.log_text(run, "scored on,value\ntest/raw,56.78\n", path="evaluation/metrics.csv")
    tracker.finish(run)
    folder = workspace.experiment("shown") / "report"
    folder.mkdir(parents=True)
    for words in ("old words", "new words"):  # written twice: one run holds the last one
        (folder / "report.html").write_text(f"<h1>{words}</h1>")
        publish_report(folder, Experiment(), workspace)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (link,) = view_links(workspace.tracking_uri, workspace.artifacts, port=port).values()
    code = "import sys; from conical.cli.main import run; run(['ui', '--port', sys.argv[1]])"
    environment = {**os.environ, "CONICAL_WORKSPACE": str(workspace.root)}
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(port)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server)
        report = tracker.find(REPORT_KEY)
        assert report is not None
        yield Served(tracker, f"http://127.0.0.1:{port}", link, run, report)
    finally:
        server.send_signal(signal.SIGTERM)
        printed = server.communicate(timeout=60)[0]
    assert link in printed


def _wait(address: str, server: subprocess.Popen) -> None:
    import time

    for _ in range(1200):
        assert server.poll() is None
        try:
            urllib.request.urlopen(address).read()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(address)


@pytest.fixture(scope="module")
def browser(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with open_chromium(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.mark.timeout(240)
def test_the_link_opens_the_view(served: Served, browser: Chromium) -> None:
    page = browser.open(served.link, width=2400)
    page.wait_until("document.body.innerText.includes('a run')")
    for name in _FINAL:
        page.wait_until(f"document.body.innerText.includes({name!r})")
    assert page.run("document.body.innerText.includes('12.34')")
    assert page.run("!document.body.innerText.includes('share key')"), "MLflow does not know the view"
    # the face for model training: the other one has judges and prompts
    assert page.run("!document.body.innerText.includes('Judges')")
    charts = browser.open(f"{served.link}&compareRunsMode=CHART", width=1440, height=2400)
    charts.wait_until("document.querySelectorAll('.js-plotly-plot').length >= 9")
    charts.wait_until(r"/test\s*\(8\)/.test(document.body.innerText)", seconds=20)


@pytest.mark.timeout(240)
def test_table_and_report_preview_among_the_artefacts(served: Served, browser: Chromium) -> None:
    experiment = f"{served.base}/#/experiments/{served.tracker.experiment_id}/runs"
    page = browser.open(f"{experiment}/{served.run}/artifacts/evaluation/metrics.csv")
    page.wait_until("document.body.innerText.includes('56.78')")
    page = browser.open(f"{experiment}/{served.report}/artifacts/report.html")
    page.wait_until("document.querySelector('iframe') !== null")
    artefacts = served.tracker.client.download_artifacts(served.report, "report.html")
    assert "new words" in Path(artefacts).read_text()


def test_a_persons_own_description_of_an_experiment_stays(served: Served) -> None:
    client, identity = served.tracker.client, served.tracker.experiment_id
    client.set_experiment_tag(identity, "mlflow.note.content", "mine")
    again = MlflowTracker(served.tracker.uri, "shown", artifacts=served.tracker.artifacts)
    assert again.experiment_id == identity
    tags = client.get_experiment(identity).tags
    assert tags["mlflow.note.content"] == "mine"
    assert tags.keys() >= experiment_tags().keys()

"""The report among MLflow's artefacts."""

from __future__ import annotations

from pathlib import Path

from conical.config import Experiment
from conical.runs.log import open_tracker
from conical.runs.tracked import about_run
from conical.store import RunFolder, Workspace

REPORT_KEY = "report"


def publish_report(folder: Path, experiment: Experiment, workspace: Workspace) -> None:
    """Store a written report as artefacts, in place of the last one.

    A report on one run goes to that run. One on an experiment goes to a run named `report` of its own: it is about all
    runs, and the best of them, which is another one next week, would leave old reports behind.

    Args:
        folder: where `write_report` wrote: `<experiment>/report`, or `<experiment>/runs/<key>/report`.
        experiment: says where MLflow is.

    Raises:
        ClusterError: MLflow does not answer.
    """
    if not experiment.tracking.uri and not (workspace.root / "mlflow.db").is_file():
        return  # nothing was tracked here, so nobody looks for the report there
    owner = RunFolder(folder.parent)
    name = folder.parent.parent.parent.name if owner.exists else folder.parent.name
    tracker = open_tracker(experiment.replace({"name": name}), workspace)
    if owner.exists:
        run_id = owner.read().tracking_id
        if tracker.has(run_id):
            tracker.log_files(run_id, folder, under="report")
        return
    known = tracker.find(REPORT_KEY)
    run_id = known or tracker.start(
        "report",
        params={},
        tags={
            **about_run(experiment, description=""),
            "mlflow.note.content": "Report on the whole experiment: open `report.html` among the artefacts.",
            "conical.key": REPORT_KEY,
        },
    )
    tracker.log_files(run_id, folder, under="")
    tracker.finish(run_id)

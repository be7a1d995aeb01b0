"""`conical evaluate RUN --on FOLDER`: runs scored on another dataset, as tables or as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from conical.cli.common import console

if TYPE_CHECKING:
    from conical.config import Experiment
    from conical.on_ray.evaluate_on import EvaluatedOn
    from conical.reports import RunRow
    from conical.runs.other_dataset import OtherDataset
    from conical.store import Workspace


def evaluate_on_runs(
    experiment: Experiment,
    workspace: Workspace,
    asked: OtherDataset,
    *,
    names: Sequence[str],
    repeat: bool,
    allow_trial: bool,
    as_json: bool,
) -> None:
    """Score runs and print what came out.

    Args:
        experiment: where runs are looked for first, and how they are scored.
        names: of the runs.
        repeat: score again what was scored.
        allow_trial: score a trial that did not win its sweep.
        as_json: standard output gets JSON alone, a list with an entry per evaluation.
    """
    from conical.cli.progress_line import ProgressLine
    from conical.cli.show import print_grids
    from conical.on_ray.evaluate_on import evaluate_on
    from conical.reports import group_rows, results_grid
    from conical.runs.finding import scorable_runs
    from conical.runs.log import open_tracker

    told = Console(stderr=True, soft_wrap=True) if as_json else console
    tracker = open_tracker(experiment, workspace)
    entries: list[dict[str, Any]] = []
    for run in scorable_runs(workspace, experiment.name, list(names)):
        with ProgressLine(told) as line:
            found = evaluate_on(
                run,
                workspace,
                tracker,
                experiment.evaluate,
                asked,
                repeat=repeat,
                allow_trial=allow_trial,
                report=line,
            )
        _print_data(told, found, workspace)
        if as_json:
            entries += _plain(found)
        else:
            print_grids(console, [results_grid(group) for group in group_rows(_rows(found))])
            console.print(f"numbers -> {found.place.path}", highlight=False, markup=False)
    if as_json:
        print(json.dumps(entries, ensure_ascii=False, indent=1))


def _rows(found: EvaluatedOn) -> list[RunRow]:
    """Lines of a table whose title names the dataset."""
    from conical.runs.report.builder import result_row

    rows = [result_row(found.record, scored, found.record.label) for scored in found.evaluations]
    return [dataclasses.replace(row, split=f"{row.split} of {found.dataset}") for row in rows]


def _print_data(told: Console, found: EvaluatedOn, workspace: Workspace) -> None:
    from conical.cli.show_ingest import print_ingest

    for note in found.notes:
        told.print(f"{found.dataset}: {note}", highlight=False, markup=False)
    store = workspace.frames(found.dataset, found.frame_recipe)
    print_ingest(told, found.frames, num_frames=found.num_frames, folder=store)


def _plain(found: EvaluatedOn) -> list[dict[str, Any]]:
    """Numbers of each evaluation, and what must be said with them."""
    return [
        {
            "run": found.record.key,
            "label": found.record.label,
            "dataset": found.dataset,
            "root": str(found.root),
            "scored": str(scored.name),
            "num_frames": found.num_frames,
            "num_queries": scored.num_queries,
            "num_gallery": scored.num_gallery,
            "metrics": {name: dataclasses.asdict(metric) for name, metric in scored.metrics.items()},
            "notes": [note for note in (scored.settings_note, scored.partial_note, *scored.shared) if note],
            "test_looks": len(found.record.looks),
            "stored": str(found.place.evaluation_path(scored.name)),
        }
        for scored in found.evaluations
    ]

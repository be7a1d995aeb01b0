"""Gather records into one report: of an experiment, or of a run alone. Nothing is scored anew."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conical.config import parse_experiment
from conical.core.errors import DataError
from conical.core.hashing import stable_hash
from conical.engine.source import DataSource
from conical.metrics import Comparison
from conical.reports import (
    ErrorBrowser,
    Provenance,
    ReportData,
    RunRow,
    published_rows,
)
from conical.runs.comparison import comparable_parts, compare_methods
from conical.runs.dependencies import KnownHashes, data_source
from conical.runs.finding import experiment_of, runs_named
from conical.runs.looks import looks_by_training, with_all_looks
from conical.runs.provenance import git_commit
from conical.runs.report.best_marks import mark_best
from conical.runs.report.figure_data import curves, hub_samples, rank_samples
from conical.runs.report.methods import (
    Method,
    MethodPairs,
    ReportedRun,
    best_on_val,
    method_pairs,
    naming_notes,
    reported_runs,
    usual_metric,
)
from conical.runs.report.prompt_ablations import prompt_ablations
from conical.runs.report.queries import build_browser
from conical.runs.report.verdict import verdict
from conical.runs.staleness import stale_by_name
from conical.store import EvaluationRecord, RunFolder, RunRecord, Sweep, Workspace, list_runs, read_sweep

_SPLIT = "test"


def build_report(workspace: Workspace, experiment: str, *, protocol: str = "raw") -> ReportData:
    """All runs of an experiment that are not trials, the latest sweep and its winner.

    Args:
        workspace: where the records lie.
        experiment: name of the experiment.
        protocol: of comparisons, ranks and single queries; the tables show every protocol that was scored.

    Returns:
        What `conical.reports.write_report` takes.

    Raises:
        DataError: nothing was scored yet.
    """
    folder = workspace.experiment(experiment)
    sweeps = _sweeps(folder)
    finished = [sweep for sweep in sweeps if sweep.is_finished]
    trial_keys = {trial.run_key for sweep in sweeps for trial in sweep.trials}
    winner = RunFolder(folder / "runs" / finished[-1].best.run_key) if finished else None
    folders = [run for run in list_runs(folder) if run.is_finished and run.path.name not in trial_keys]
    runs = reported_runs([*folders, *([winner] if winner else [])], winner)
    best = next((run for run in runs if winner is not None and run.folder == winner), None)
    return _report(
        workspace,
        runs,
        best or best_on_val(runs),
        title=experiment,
        sweep=finished[-1] if finished else None,
        protocol=protocol,
    )


def build_run_report(workspace: Workspace, experiment: str, name: str, *, protocol: str = "raw") -> ReportData:
    """One run, or all seeds of one label, with the sweep it was a trial of.

    Args:
        workspace: where the records lie.
        experiment: where it is looked for first.
        name: key, first letters of it, MLflow id or label.
        protocol: as in `build_report`.

    Returns:
        What `conical.reports.write_report` takes.

    Raises:
        DataError: the name fits no run or several, or the run was not scored.
    """
    folders = runs_named(workspace, experiment, name)
    place = experiment_of(folders[0])
    folder = workspace.experiment(place)
    keys = {run.path.name for run in folders}
    sweeps = [sweep for sweep in _sweeps(folder) if keys & {trial.run_key for trial in sweep.trials}]
    won = [run for sweep in sweeps for run in folders if sweep.is_finished and sweep.best.run_key == run.path.name]
    runs = reported_runs(folders, won[-1] if won else None)
    return _report(
        workspace,
        runs,
        best_on_val(runs),
        title=f"{place}, {runs[0].method}",
        sweep=sweeps[-1] if sweeps else None,
        protocol=protocol,
    )


def report_on(workspace: Workspace, name: str, experiment: str, *, protocol: str = "raw") -> tuple[ReportData, Path]:
    """The report that a name asks for, and the folder it belongs in.

    Args:
        workspace: where the records lie.
        name: an experiment; else a run's key, MLflow id or label.
        experiment: where a run is looked for first.
        protocol: as in `build_report`.

    Raises:
        DataError: the name fits nothing, or nothing was scored yet.
    """
    folder = workspace.experiment(name)
    if name == experiment or list_runs(folder):
        return build_report(workspace, name, protocol=protocol), folder / "report"
    data = build_run_report(workspace, experiment, name, protocol=protocol)
    return data, runs_named(workspace, experiment, name)[0].path / "report"


def _sweeps(folder: Path) -> list[Sweep]:
    """Oldest first."""
    stored = [read_sweep(path) for path in sorted(folder.glob("sweeps/*/sweep.json"), key=lambda p: p.stat().st_mtime)]
    return [sweep for sweep in stored if sweep is not None]


def _report(
    workspace: Workspace,
    runs: Sequence[ReportedRun],
    best: ReportedRun | None,
    *,
    title: str,
    sweep: Sweep | None,
    protocol: str,
) -> ReportData:
    known = looks_by_training(workspace.experiments)
    runs = [replace(run, record=with_all_looks(run.folder, known)) for run in runs]
    rows = _rows(runs, workspace)
    if best is None or not rows:
        raise DataError(f"{title!r} has no scored run in {workspace.root}: run train, then evaluate")
    pairs = method_pairs(runs, split=_SPLIT, protocol=protocol)
    browser, unseen = _browser(pairs, best, workspace, protocol)
    return ReportData(
        title=f"{title}: video-text retrieval on {best.record.config['dataset']['name']}",
        rows=tuple(rows),
        verdict=verdict(runs, pairs, split=_SPLIT, protocol=protocol),
        dataset=best.record.config["dataset"]["name"],
        select_by=usual_metric(runs),
        sweep=sweep,
        curves=tuple(curve for run in runs for curve in curves(run)),
        ranks=tuple(rank_samples(runs, split=_SPLIT, protocol=protocol)),
        hubs=tuple(hub_samples(runs, split=_SPLIT, protocol=protocol)),
        comparisons=tuple(_comparison(a, b, protocol) for a, b in pairs.compared),
        ablations=tuple(prompt_ablations(runs, split=_SPLIT, protocol=protocol)),
        browser=browser,
        published=published_rows(),
        notes=_notes(runs, sweep, pairs) + unseen,
        provenance=Provenance(
            config_toml=parse_experiment(best.record.config, origin="the run's settings").to_toml(),
            commit=git_commit(),
            hashes=best.record.data_hashes,
            environment=best.record.environment,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=shlex.join(["conical", *sys.argv[1:]]),
        ),
    )


def _rows(runs: Sequence[ReportedRun], workspace: Workspace) -> list[RunRow]:
    """Everything that was scored: val before test, the standard protocol first."""
    names = sorted({name for run in runs for name in run.evaluations}, key=lambda n: (not n.startswith("val"), n))
    names.sort(key=lambda name: name.partition("/")[2] != "raw")
    hashes: KnownHashes = {}  # most runs share their data
    stale = {run.label: stale_by_name(run.folder, run.evaluations.values(), workspace, hashes=hashes) for run in runs}
    scored = [(run, run.evaluations[name], name) for name in names for run in runs if name in run.evaluations]
    return mark_best(
        [
            (result_row(run.record, evaluation, run.label, stale=stale[run.label].get(name, "")), evaluation)
            for run, evaluation, name in scored
        ]
    )


def result_row(record: RunRecord, scored: EvaluationRecord, label: str, *, stale: str = "") -> RunRow:
    """One evaluation of a run as a line of a table.

    Args:
        label: what tables call the run.
        stale: what it was made from that is no longer there; "" for nothing.
    """
    looks = record.looks_note(scored.name) if scored.split == "test" else ""
    epoch = "best epoch 0, no epoch was better on val than the weights as loaded" if record.is_as_loaded else ""
    notes = [epoch, record.supplements_note, scored.settings_note, scored.partial_note, *scored.shared, looks]
    notes += [f"stale: scored {stale} than are there now"] if stale else []
    return RunRow(
        label=label,
        run_id=record.tracking_id,
        protocol=scored.name.scores,
        split=scored.name.part,
        metrics=scored.metrics,
        num_queries=scored.num_queries,
        num_gallery=scored.num_gallery,
        comparable=comparable_hash(scored),
        has_ties=scored.has_ties,
        trained_commit=record.environment.get("commit", ""),
        note="; ".join(note for note in notes if note),
        uses_target=scored.uses_target,
        is_as_loaded=record.is_as_loaded,
    )


def comparable_hash(scored: EvaluationRecord) -> str:
    """Hash of what `refuse_difference` asks to be equal beside the name, so that tables rank nothing it refuses.

    How supplements join the frames, and which, is part of a method: they are what is compared.
    """
    return stable_hash({part: value for part, value in comparable_parts(scored).items() if part != "names"})


def _comparison(a: Method, b: Method, protocol: str) -> Comparison:
    folders_a, folders_b = [run.folder for run in a], [run.folder for run in b]
    return compare_methods(folders_a, folders_b, split=_SPLIT, protocol=protocol, labels=(a[0].method, b[0].method))


def _browser(
    pairs: MethodPairs, best: ReportedRun, workspace: Workspace, protocol: str
) -> tuple[ErrorBrowser | None, tuple[str, ...]]:
    """The error browser, and what it cannot show; numbers are reported even where the clips have gone."""
    source = _source(best.folder, workspace)
    try:
        browser = build_browser(pairs.compared, best, source, split=_SPLIT, protocol=protocol)
    except DataError as error:
        return None, (f"Single queries are not shown: {error}.",)
    return browser, _missing_supplements(best.record, source)


def _source(run: RunFolder, workspace: Workspace) -> DataSource:
    """The data a run read; without supplements where those it was trained on are no longer to be had."""
    experiment = parse_experiment(run.read().config, origin="the run's settings")
    try:
        return data_source(experiment, workspace)
    except DataError:
        return data_source(experiment, workspace, has_supplements=False)


def _missing_supplements(record: RunRecord, source: DataSource) -> tuple[str, ...]:
    """Says so when the queries are shown without their supplements."""
    if record.config["mix"].keys() != {"human"} and not source.supplement_keys:
        return (f"The supplements that {record.label} was trained on are not in the ledger, or are other ones now.",)
    return ()


def _notes(runs: Sequence[ReportedRun], sweep: Sweep | None, pairs: MethodPairs) -> tuple[str, ...]:
    looked = [f"{run.label} ({run.record.test_looks})" for run in runs if run.record.test_looks > 1]
    looks = (
        f"test was looked at more than once for: {', '.join(looked)}"
        if looked
        else "test was scored once for each run shown"
    )
    notes = [f"Runs and the sweep were selected on val; {looks}."]
    best_key = sweep.best.run_key if sweep and sweep.is_finished else None
    winner = next((run for run in runs if run.folder.path.name == best_key), None)
    if winner is not None:
        notes.append(
            f"The tuned run is {winner.record.label} of the sweep: the best on val, scored on test afterwards."
        )
    notes += naming_notes(runs, pairs)
    if pairs.left_out:
        left_out = "; ".join(f"{a} against {b}" for a, b in pairs.left_out)
        notes.append(
            f"Not compared, as they share no seed or were not scored alike: {left_out}. Score them again with conical "
            "evaluate --repeat."
        )
    return tuple(notes)

"""Gather an experiment's records into one report. Nothing is computed anew but paired comparisons."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Sequence

import numpy as np

from conical.config import LOSS_TITLES, parse_experiment
from conical.core.errors import DataError
from conical.engine.data import DataSource
from conical.on_ray.comparison import compare_methods
from conical.on_ray.provenance import git_commit
from conical.on_ray.run_identity import data_source
from conical.reports import (
    Comparison,
    Curve,
    Hit,
    MetricValue,
    Provenance,
    QueryCase,
    RankSample,
    ReportData,
    RunRow,
    Sweep,
    Trial,
    published_rows,
)
from conical.store import EvaluationRecord, RunFolder, RunRecord, SweepRecord, Workspace, list_runs, read_sweep

_SPLITS = ("val", "test")
_TRIAL_STATUS = {"finished": "completed", "stopped": "stopped", "failed": "failed", "running": "failed"}
_HITS = 3


def build_report(workspace: Workspace, experiment: str, *, protocol: str = "raw") -> ReportData:
    """All runs of an experiment that are not trials, the latest sweep and its winner.

    Args:
        workspace: where the records lie.
        experiment: name of the experiment.
        protocol: of the evaluations shown.

    Returns:
        What `conical.reports.write_report` takes.

    Raises:
        DataError: nothing was scored yet.
    """
    folder = workspace.experiment(experiment)
    sweeps = [read_sweep(path) for path in sorted(folder.glob("sweeps/*/sweep.json"), key=lambda p: p.stat().st_mtime)]
    finished = [sweep for sweep in sweeps if sweep is not None and sweep.is_finished]
    trial_keys = {trial.run_key for sweep in sweeps if sweep is not None for trial in sweep.trials}
    winner = RunFolder(folder / "runs" / finished[-1].best.run_key) if finished else None
    runs = [run for run in list_runs(folder) if run.is_finished and run.path.name not in trial_keys]
    runs = sorted(runs, key=lambda run: (run.read().label, run.read().seed))
    if winner is not None:
        runs.append(winner)
    scored = [(run, run.read_evaluation(split, protocol)) for split in _SPLITS for run in _in_order(runs)]
    rows = [result_row(run.read(), found, _label(run, runs, winner)) for run, found in scored if found is not None]
    if not rows:
        raise DataError(f"experiment {experiment!r} has no scored run in {workspace.root}: run train, then evaluate")
    best = winner or max(runs, key=lambda run: run.read().val_value or 0.0)
    record = best.read()
    return ReportData(
        title=f"{experiment}: video-text retrieval on {record.config['dataset']['name']}",
        rows=tuple(rows),
        sweep=_sweep(finished[-1]) if finished else None,
        curves=tuple(curve for run in runs for curve in _curves(run, _label(run, runs, winner))),
        ranks=tuple(_rank_samples(runs, winner, protocol)),
        cases=tuple(_cases(best, workspace, protocol)),
        comparisons=tuple(_comparisons(runs, winner, protocol)),
        published=published_rows(),
        notes=_notes(runs, winner) + _missing_supplements(best, workspace),
        provenance=Provenance(
            config_toml=parse_experiment(record.config, origin="the run's settings").to_toml(),
            commit=git_commit(),
            hashes=record.data_hashes,
            environment=record.environment,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=shlex.join(["conical", *sys.argv[1:]]),
        ),
    )


def _in_order(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """From the plainest method to the tuned one, as they were made."""
    return sorted(
        runs, key=lambda run: (run.read().config["optim"]["epochs"] > 0, (run.path / "config.toml").stat().st_mtime)
    )


def _method(run: RunFolder, winner: RunFolder | None) -> str:
    """What a run is an instance of; its seeds share it."""
    record = run.read()
    if winner is not None and run.path == winner.path:
        return f"tuned {LOSS_TITLES[record.config['loss']['name']]} ({record.label})"
    return record.label


def _label(run: RunFolder, runs: Sequence[RunFolder], winner: RunFolder | None) -> str:
    method = _method(run, winner)
    has_seeds = sum(_method(other, winner) == method for other in runs) > 1
    return f"{method}, seed {run.read().seed}" if has_seeds else method


def result_row(record: RunRecord, scored: EvaluationRecord, label: str) -> RunRow:
    """One scored split of a run as a line of a table."""
    has_looked_again = scored.split == "test" and record.test_looks > 1
    return RunRow(
        label=label,
        run_id=record.tracking_id,
        protocol=scored.protocol,
        split=scored.split,
        metrics={
            name: MetricValue(found["value"], found["low"], found["high"])
            for name, found in scored.metrics.items()
            if not name.startswith("v2t_any/")  # the tables have one line for v2t
        },
        num_queries=scored.num_queries,
        num_gallery=scored.num_gallery,
        has_ties=scored.has_ties,
        note=f"test was looked at {record.test_looks} times" if has_looked_again else "",
    )


def _sweep(record: SweepRecord) -> Sweep:
    return Sweep(
        metric_name=record.metric,
        trials=tuple(
            Trial(
                number=trial.number,
                params=trial.settings,
                value=trial.value,
                status=_TRIAL_STATUS[trial.status],
                epochs=trial.epochs,
            )
            for trial in record.trials
        ),
        best_number=record.best.number,
    )


def _curves(run: RunFolder, label: str) -> list[Curve]:
    rows = run.read_curve()
    found = []
    for name in ("train/loss", "val/raw/t2v/R1"):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        if len(points) > 1:
            steps, values = zip(*points, strict=True)
            found.append(Curve(label=label, name=name, steps=steps, values=values))
    return found


def _rank_samples(runs: Sequence[RunFolder], winner: RunFolder | None, protocol: str) -> list[RankSample]:
    samples = []
    for run in _in_order(runs):
        scored = run.read_evaluation("test", protocol)
        if scored is not None:
            samples.append(
                RankSample(
                    label=_label(run, runs, winner),
                    split="test",
                    protocol=protocol,
                    direction="t2v",
                    ranks=scored.ranks_t2v,
                    num_gallery=scored.num_gallery,
                )
            )
    return samples


def _comparisons(runs: Sequence[RunFolder], winner: RunFolder | None, protocol: str) -> list[Comparison]:
    """On test: each trained method against the InfoNCE baseline, and methods with supplements against CEO without."""
    methods: dict[str, list[RunFolder]] = {}
    for run in _in_order(runs):
        if run.read_evaluation("test", protocol) is not None and run.read().config["optim"]["epochs"] > 0:
            methods.setdefault(_method(run, winner), []).append(run)
    configs = {name: group[0].read().config for name, group in methods.items()}
    baselines = [name for name, config in configs.items() if config["loss"]["name"] == "info_nce"][:1]
    plain = [n for n, c in configs.items() if c["loss"]["name"] == "ceo" and c["mix"]["human"] == 1.0][:1]
    pairs = [(name, baseline) for baseline in baselines for name in methods if name != baseline]
    pairs += [(name, base) for base in plain for name in methods if name not in (base, *baselines)]
    return [compare_methods(methods[a], methods[b], split="test", protocol=protocol, labels=(a, b)) for a, b in pairs]


def _cases(run: RunFolder, workspace: Workspace, protocol: str) -> list[QueryCase]:
    """Three test queries of the best run: found at once, found late, and the worst."""
    scored = run.read_evaluation("test", protocol)
    if scored is None:
        return []
    ranks = scored.ranks_t2v
    late = np.flatnonzero((ranks > 1) & (ranks <= 10))
    chosen = [int(np.argmin(ranks)), int(late[0]) if len(late) else int(np.argsort(ranks)[len(ranks) // 2])]
    chosen.append(int(np.argmax(ranks)))
    source = _source(run, workspace)
    captions = {record.video_id: record.captions for record in source.records("test")}
    supplements = source.supplements()
    store = source.frame_store

    def hit(query: int, column: int) -> Hit:
        video_id = scored.video_ids[column]
        return Hit(
            video_id=video_id,
            score=float(scored.similarity[query, column]),
            is_correct=bool(scored.text_video[query] == column),
            captions=captions[video_id],
            supplements=tuple(text for texts in supplements.get(video_id, {}).values() for text in texts),
            filmstrip=store.read(video_id).frames,
        )

    return [_case(scored, query, hit, store) for query in chosen]


def _source(run: RunFolder, workspace: Workspace) -> DataSource:
    """The data a run read; without supplements where those it was trained on are no longer to be had."""
    experiment = parse_experiment(run.read().config, origin="the run's settings")
    try:
        return data_source(experiment, workspace)
    except DataError:
        return data_source(experiment, workspace, has_supplements=False)


def _missing_supplements(run: RunFolder, workspace: Workspace) -> tuple[str, ...]:
    """Says so when the queries below are shown without their supplements."""
    wants = run.read().config["mix"]["human"] < 1
    if wants and not _source(run, workspace).supplement_keys:
        return (
            f"The supplements that {run.read().label} was trained on are not in the ledger, or are other ones now.",
        )
    return ()


def _case(scored: EvaluationRecord, query: int, hit, store) -> QueryCase:
    order = np.argsort(-scored.similarity[query], kind="stable")[:_HITS]
    target = scored.video_ids[int(scored.text_video[query])]
    return QueryCase(
        query=scored.texts[query],
        query_video_id=target,
        rank=float(scored.ranks_t2v[query]),
        hits=tuple(hit(query, int(column)) for column in order),
        target_filmstrip=store.read(target).frames,
    )


def _notes(runs: Sequence[RunFolder], winner: RunFolder | None) -> tuple[str, ...]:
    notes = ["Runs and the sweep were selected on val; test was scored once for each run shown."]
    looked = [run.read() for run in runs if run.read().test_looks > 1]
    if looked:
        names = ", ".join(f"{record.label} ({record.test_looks})" for record in looked)
        notes[0] = f"Runs and the sweep were selected on val; test was looked at more than once for: {names}."
    if winner is not None:
        notes.append(
            f"The tuned run is {winner.read().label} of the sweep: the best on val, scored on test afterwards."
        )
    return tuple(notes)

"""The runs of a report: which they are, what they are called, which of them are compared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from conical.core.errors import ProtocolError
from conical.losses import LossCard, loss_card
from conical.metrics import merit
from conical.runs.comparison import refuse_difference, same_weights, unpaired_seeds
from conical.runs.dependencies import method_dependencies
from conical.store import EvaluationRecord, RunFolder, RunRecord


@dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """One run, read once.

    Args:
        method: what it is an instance of; its seeds share it.
        label: what the report calls it; unique.
        evaluations: all that was scored, by name (`test/raw`, `test-leak-free/raw.dsl`).
        is_older: a newer run has the same label, and they are not two seeds, so this one is told apart by a key.
    """

    folder: RunFolder
    record: RunRecord
    method: str
    label: str
    evaluations: Mapping[str, EvaluationRecord] = field(repr=False)
    is_older: bool = False

    def scored(self, split: str, protocol: str) -> EvaluationRecord | None:
        """Its evaluation with scores as they are, over the whole split."""
        return self.evaluations.get(f"{split}/{protocol}")


# the seeds of one method
Method: TypeAlias = Sequence[ReportedRun]
# of a key, behind the name of an older run
_KEY_LETTERS = 8


def reported_runs(folders: Sequence[RunFolder], winner: RunFolder | None) -> tuple[ReportedRun, ...]:
    """Name the runs, from the plainest method to the tuned one, as they were made.

    Runs of one label are seeds of one method if nothing but the seed differs between them. Of several such groups (the
    settings, the code or the data have changed between them) the newest keeps the name; an older one is a method of its
    own, with the first letters of its newest run's key, and comes after the newest.

    Args:
        folders: the runs; the sweep's winner is one of them, if any.
        winner: best trial of the sweep.
    """
    read = [(folder, folder.read()) for folder in folders]
    read.sort(key=lambda pair: (pair[1].label, pair[1].seed))
    read.sort(key=lambda pair: _made(pair[0]))
    # of each, the last one made stays
    newest_of_label, newest_of_group, newest_of_seed = {}, {}, {}
    for folder, record in read:
        method, group = _method(folder, record, winner), method_dependencies(record).key
        newest_of_label[method] = group
        newest_of_group[method, group] = record.key
        newest_of_seed[method, group, record.seed] = record.key
    named = []
    for folder, record in read:
        method, group = _method(folder, record, winner), method_dependencies(record).key
        is_repeated = newest_of_seed[method, group, record.seed] != record.key
        is_older = is_repeated or newest_of_label[method] != group
        key = record.key if is_repeated else newest_of_group[method, group]
        named.append((folder, record, f"{method} ({key[:_KEY_LETTERS]})" if is_older else method, is_older))
    named.sort(key=lambda run: (run[1].config["optim"]["epochs"] > 0, run[3]))
    methods = [method for _, _, method, _ in named]
    return tuple(
        ReportedRun(
            folder=folder,
            record=record,
            method=method,
            label=f"{method}, seed {record.seed}" if methods.count(method) > 1 else method,
            evaluations=_evaluations(folder),
            is_older=is_older,
        )
        for folder, record, method, is_older in named
    )


def _evaluations(folder: RunFolder) -> dict[str, EvaluationRecord]:
    evaluations = {
        str(name): folder.read_evaluation(name.split, name.protocol, family=name.family, subset=name.subset)
        for name in folder.evaluation_names()
    }
    return {name: scored for name, scored in evaluations.items() if scored is not None}


def _made(folder: RunFolder) -> float:
    return (folder.path / "config.toml").stat().st_mtime


def _method(folder: RunFolder, record: RunRecord, winner: RunFolder | None) -> str:
    if winner is not None and folder.path == winner.path:
        card = _loss_of(record)
        return f"tuned {card.title if card else record.config['loss']['name']} ({record.label})"
    return record.label


def _loss_of(record: RunRecord) -> LossCard | None:
    """The card of a run's loss; None for one from outside that cannot be imported here: its numbers are stored."""
    try:
        return loss_card(record.config["loss"]["name"])
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class MethodPairs:
    """Which methods are compared.

    Args:
        compared: the seeds of the judged method and of the other one.
        left_out: names of pairs that cannot be: they share no seed, or were scored on other queries or in another way.
    """

    compared: tuple[tuple[Method, Method], ...]
    left_out: tuple[tuple[str, str], ...]


def method_pairs(runs: Sequence[ReportedRun], *, split: str, protocol: str) -> MethodPairs:
    """Each trained method against the baseline loss, and against the first other loss on human captions alone.

    Args:
        split: where both must be scored.
        protocol: likewise.
    """
    methods = trained_methods(runs, split=split, protocol=protocol)
    configs = {name: group[0].record.config for name, group in methods.items()}
    cards = {name: _loss_of(group[0].record) for name, group in methods.items()}
    with_baseline = [name for name, card in cards.items() if card is not None and card.is_baseline]
    baselines = with_baseline[:1]
    plain = [n for n, c in configs.items() if n not in with_baseline and c["mix"].get("human") == 1.0][:1]
    names = [(name, baseline) for baseline in baselines for name in methods if name != baseline]
    names += [(name, base) for base in plain for name in methods if name not in (base, *baselines)]
    fit = [(a, b) for a, b in names if are_comparable(methods[a], methods[b], split=split, protocol=protocol)]
    return MethodPairs(
        compared=tuple((methods[a], methods[b]) for a, b in fit),
        left_out=tuple(pair for pair in names if pair not in fit),
    )


def naming_notes(runs: Sequence[ReportedRun], pairs: MethodPairs) -> tuple[str, ...]:
    """What names do not say: runs told apart by key, runs of the same weights, and seeds without a partner."""
    older = [run.label for run in runs if run.is_older]
    notes = [
        f"Of runs with one label that differ in more than the seed the newest keep the name, older ones have a key: "
        f"{'; '.join(older)}."
    ]
    unpaired = [(a, b, unpaired_seeds([r.folder for r in a], [r.folder for r in b])) for a, b in pairs.compared]
    seeds = [f"{a[0].method} against {b[0].method}: {left_out}" for a, b, left_out in unpaired if left_out]
    scored = {run.label: evaluation for run in runs for evaluation in run.evaluations.values()}
    return (*(notes if older else ()), *same_weights(scored), *seeds)


def usual_metric(runs: Sequence[ReportedRun]) -> str:
    """The metric that chose the epochs of most runs; "" where there is no run."""
    metrics = Counter(run.record.config["select_by"] for run in runs)
    return metrics.most_common(1)[0][0] if metrics else ""


def best_on_val(runs: Sequence[ReportedRun]) -> ReportedRun | None:
    """The run with the best value on val, of equals the first; None where there is no run.

    Values of two metrics are never compared: of runs that were selected by several, those of the most frequent count.
    """
    usual = usual_metric(runs)

    def worth(run: ReportedRun) -> float:
        value = run.record.val_value
        return -math.inf if value is None or run.record.config["select_by"] != usual else merit(usual, value)

    return max(runs, key=worth, default=None)


def trained_methods(runs: Sequence[ReportedRun], *, split: str, protocol: str) -> dict[str, list[ReportedRun]]:
    """Seeds of each method that was trained and scored, by its name."""
    methods: dict[str, list[ReportedRun]] = {}
    for run in runs:
        if run.record.config["optim"]["epochs"] > 0 and run.scored(split, protocol) is not None:
            methods.setdefault(run.method, []).append(run)
    return methods


def are_comparable(a: Method, b: Method, *, split: str, protocol: str) -> bool:
    """Whether two methods share a seed, and all their runs were scored alike, with their ties."""
    scored = [run.scored(split, protocol) for run in (*a, *b)]
    known = [record for record in scored if record is not None and record.rankings]
    if len(known) < len(scored) or not {run.record.seed for run in a} & {run.record.seed for run in b}:
        return False
    try:
        refuse_difference(known)
    except ProtocolError:
        return False
    return True


def same_seed(a: Method, b: Method) -> tuple[ReportedRun, ReportedRun]:
    """One run of each, of the lowest seed they share."""
    by_seed_a, by_seed_b = ({run.record.seed: run for run in runs} for runs in (a, b))
    seed = min(by_seed_a.keys() & by_seed_b.keys())
    return by_seed_a[seed], by_seed_b[seed]

"""How often test was looked at for one training, wherever in the workspace it was trained.

A look belongs to what was trained, its determining settings and data: a run under another experiment's name, or a
losing trial's settings trained by hand, is the same encoder, and what was seen of it was seen.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from conical.runs.dependencies import dependencies_of
from conical.store import RunFolder, RunRecord, TestLook, list_runs


def looks_by_training(experiments: Path) -> dict[str, tuple[TestLook, ...]]:
    """All looks at test, by the key of what was trained (a trial's sweep is no part of it), oldest first.

    Args:
        experiments: the workspace's folder of experiments.
    """
    looks: dict[str, list[TestLook]] = defaultdict(list)
    for experiment in sorted(experiments.glob("*")):
        for record in (run.read() for run in list_runs(experiment)):
            looks[dependencies_of(record).key] += record.looks
    return {key: tuple(sorted(found, key=lambda look: look.time)) for key, found in looks.items()}


def with_all_looks(run: RunFolder, known: Mapping[str, tuple[TestLook, ...]] | None = None) -> RunRecord:
    """A run's record with the looks of every run that trained the same.

    Args:
        known: of `looks_by_training`, where several runs are asked about.
    """
    record = run.read()
    known = looks_by_training(run.path.parents[2]) if known is None else known
    return dataclasses.replace(record, looks=known.get(dependencies_of(record).key, record.looks))


def with_looks_on(run: RunFolder, dataset: str) -> RunRecord:
    """A run's record with the looks at test of another dataset, of every run that trained the same.

    Args:
        dataset: folder of the other dataset in the workspace.
    """
    record = run.read()
    key = dependencies_of(record).key
    others = [other for experiment in run.path.parents[2].glob("*") for other in list_runs(experiment)]
    same = [other for other in others if dependencies_of(other.read()).key == key]
    looks = [look for other in same for look in other.on(dataset).read_looks()]
    return dataclasses.replace(record, looks=tuple(sorted(looks, key=lambda look: look.time)))

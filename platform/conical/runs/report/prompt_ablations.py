"""Find the runs that differ in prompts and captioner alone, and what that difference is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conical.captioning.mix import HUMAN
from conical.config.nested import flatten
from conical.core.hashing import stable_hash
from conical.metrics import MetricValue, bootstrap_intervals
from conical.reports import Ablation, AblationLine
from conical.runs.comparison import compare_methods
from conical.runs.report.methods import Method, ReportedRun, are_comparable, trained_methods
from conical.store import EvaluationRecord

_METRICS = ("R1", "R10")
# of `[captions]`: settings that change no text
_NO_TEXT = ("retry_failed", "max_missing")
# what an ablation varies, and what does not change a result or only names or repeats it
_VARIED = ("mix", "captions")
_IGNORED = ("name", "label", "seed", "evaluate", "tune", "ray", "tracking")


def ablation_groups(configs: Mapping[str, Mapping[str, Any]]) -> list[list[tuple[str, str]]]:
    """Methods that differ in nothing but prompt mix, prompts and captioner.

    Args:
        configs: complete settings by method.

    Returns:
        Groups of at least two: (method, what it changes of the group's first). The first is the one with most human
        captions; what is said of it is its mix.
    """
    groups: dict[str, list[str]] = {}
    for method, config in configs.items():
        rest = {name: value for name, value in config.items() if name not in (*_VARIED, *_IGNORED)}
        groups.setdefault(stable_hash(rest), []).append(method)
    groups_of_lines = []
    for methods in groups.values():
        methods.sort(key=lambda method: -configs[method]["mix"].get(HUMAN, 0.0))
        base = configs[methods[0]]
        lines = [(methods[0], f"base: {_mix_words(base)}{_captioner_words(base)}")]
        changed = {method: _change(configs[method], base) for method in methods[1:]}
        lines += [(method, change) for method, change in changed.items() if change]
        if len(lines) > 1:
            groups_of_lines.append(lines)
    return groups_of_lines


def _change(config: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """What differs, in words; nothing where only settings differ that this mix makes no use of."""
    words = [_mix_words(config)] if config["mix"] != base["mix"] else []
    if not _takes_supplements(config):
        return "; ".join(words)
    if not _takes_supplements(base):
        return "; ".join(words) + _captioner_words(config)
    new, old = flatten(config["captions"]), flatten(base["captions"])
    words += [
        f"captions.{name} {old.get(name)} → {new.get(name)}"
        for name in sorted((new.keys() | old.keys()) - {*_NO_TEXT})
        if new.get(name) != old.get(name)
    ]
    return "; ".join(words)


def _takes_supplements(config: Mapping[str, Any]) -> bool:
    return bool(config["mix"].keys() - {HUMAN})


def _mix_words(config: Mapping[str, Any]) -> str:
    if not _takes_supplements(config):
        return "human captions only"
    return "mix " + ", ".join(f"{name} {share:.2g}" for name, share in config["mix"].items())


def _captioner_words(config: Mapping[str, Any]) -> str:
    return f", captioner {config['captions']['captioner']}" if _takes_supplements(config) else ""


def prompt_ablations(runs: Sequence[ReportedRun], *, split: str, protocol: str) -> list[Ablation]:
    """Score each group of `ablation_groups`, paired against its base.

    Args:
        runs: of the report; those of one method are its seeds.
        split: where they were scored.

    Returns:
        One a group whose base and at least one variant share seeds and queries.
    """
    methods = trained_methods(runs, split=split, protocol=protocol)
    ablations = []
    for group in ablation_groups({name: seeds[0].record.config for name, seeds in methods.items()}):
        base = methods[group[0][0]]
        shown = [(methods[method], change) for method, change in group]
        shown = [line for line in shown if are_comparable(line[0], base, split=split, protocol=protocol)]
        if len(shown) < 2:
            continue
        lines = [_line(method, change, base, split=split, protocol=protocol) for method, change in shown]
        first = _scored(base, split, protocol)[0]
        ablations.append(
            Ablation(
                lines=tuple(lines),
                split=split,
                protocol=protocol,
                num_queries=first.num_queries,
                num_gallery=first.num_gallery,
            )
        )
    return ablations


def _line(method: Method, change: str, base: Method, *, split: str, protocol: str) -> AblationLine:
    against = {}
    if method is not base:
        folders_a, folders_b = [run.folder for run in method], [run.folder for run in base]
        labels = (method[0].method, base[0].method)
        against = {
            metric: compare_methods(folders_a, folders_b, split=split, protocol=protocol, metric=metric, labels=labels)
            for metric in _METRICS
        }
    return AblationLine(
        change=change,
        label=method[0].method,
        metrics=_mean_metrics(_scored(method, split, protocol)),
        against_base=against,
        num_seeds=len(method),
    )


def _mean_metrics(scored: Sequence[EvaluationRecord]) -> dict[str, MetricValue]:
    """As stored for one run; over seeds their mean, with an interval over queries."""
    if len(scored) == 1:
        return {name: scored[0].metrics[f"t2v/{name}"] for name in _METRICS}
    means = {name: float(np.mean([found.metrics[f"t2v/{name}"].value for found in scored])) for name in _METRICS}
    rankings = [found.rankings["t2v"] for found in scored]
    intervals = bootstrap_intervals(rankings, metrics=_METRICS, groups=scored[0].text_video)
    return {name: MetricValue(means[name], intervals[name].low, intervals[name].high) for name in _METRICS}


def _scored(method: Method, split: str, protocol: str) -> list[EvaluationRecord]:
    return [scored for run in method if (scored := run.scored(split, protocol)) is not None]

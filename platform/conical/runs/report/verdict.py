"""What may be claimed of an experiment, in one sentence: which methods are better than the baseline, beyond doubt."""

from __future__ import annotations

from collections.abc import Sequence

from conical.metrics import NO_DIFFERENCE, Comparison
from conical.runs.comparison import compare_methods
from conical.runs.report.methods import Method, MethodPairs, ReportedRun, trained_methods

_CONFIDENCE = 0.95
_METRIC = "t2v R@1"


def verdict(runs: Sequence[ReportedRun], pairs: MethodPairs, *, split: str, protocol: str) -> str:
    """One sentence on every method that can be compared with the baseline, all judged at once.

    A baseline that training did not improve on val is the model as it was loaded; nothing is claimed against it under
    its own name. Each of n comparisons is judged at 1 - 0.05 / n (Bonferroni), so that the chance to claim anything
    among equal methods is at most 5 % in all; the single comparisons of the report are each judged at 95 %.

    Args:
        runs: all of the report.
        pairs: which of their methods can be compared; the first one's second method is the baseline.
        split: where they were scored.
        protocol: likewise.
    """
    if not pairs.compared:
        return _nothing_compared(runs, pairs, split=split, protocol=protocol)
    baseline = pairs.compared[0][1]
    judged = [a for a, b in pairs.compared if b[0].method == baseline[0].method]
    found = [
        _compare(a, baseline, split=split, protocol=protocol, confidence=1 - (1 - _CONFIDENCE) / len(judged))
        for a in judged
    ]
    is_untrained = all(run.record.is_as_loaded for run in baseline)
    against = "that untrained model" if is_untrained else baseline[0].method
    claim = "; ".join(_claims(found, against))
    if is_untrained:
        claim = (
            f"Nothing can be claimed against {baseline[0].method}: no epoch of it was better on val than the untrained "
            f"model, which stands in its place; {claim}"
        )
    else:
        claim = f"N{claim[1:]}" if claim.startswith("no method ") else claim  # a name keeps its letters
    return f"{claim} ({_how(found, baseline, split=split, protocol=protocol)})."


def _compare(a: Method, b: Method, *, split: str, protocol: str, confidence: float) -> Comparison:
    folders_a, folders_b = [run.folder for run in a], [run.folder for run in b]
    labels = (a[0].method, b[0].method)
    return compare_methods(folders_a, folders_b, split=split, protocol=protocol, labels=labels, confidence=confidence)


def _claims(found: Sequence[Comparison], against: str) -> list[str]:
    """The methods by what may be said of them."""
    named = {
        verdict: [f"{one.label_a} ({one.difference:+.1f})" for one in found if one.verdict == verdict]
        for verdict in ("a is better", "b is better", NO_DIFFERENCE)
    }
    claims = []
    for verdict, word in (("a is better", "better"), ("b is better", "worse")):
        if named[verdict]:
            be = "is" if len(named[verdict]) == 1 else "are"
            claims.append(f"{_listed(named[verdict])} {be} significantly {word} than {against} in {_METRIC}")
    equal = named[NO_DIFFERENCE]
    if len(equal) == len(found) > 1:
        claims.append(f"no method differs significantly from {against} in {_METRIC}: {_listed(equal)}")
    elif equal:
        do = "does" if len(equal) == 1 else "do"
        claims.append(f"{_listed(equal)} {do} not differ significantly from {against} in {_METRIC}")
    return claims


def _how(found: Sequence[Comparison], baseline: Method, *, split: str, protocol: str) -> str:
    scored = baseline[0].scored(split, protocol)
    assert scored is not None
    seeds = sorted({one.num_seeds for one in found})
    trainings = "one training each" if seeds == [1] else f"{' or '.join(map(str, seeds))} seeds each"
    share = "5 % error" if len(found) == 1 else f"5 % error over all {len(found)} comparisons"
    return f"{split}, {scored.num_queries:,} queries, paired bootstrap, {share}, {trainings}"


def _nothing_compared(runs: Sequence[ReportedRun], pairs: MethodPairs, *, split: str, protocol: str) -> str:
    trained = list(trained_methods(runs, split=split, protocol=protocol))
    if pairs.left_out:
        return "No verdict: the trained methods share no seed, or were not scored alike, so none can be compared."
    if len(trained) > 1:
        return "No verdict: none of the trained methods is a baseline (InfoNCE, or human captions alone)."
    if trained:
        return f"No verdict: {trained[0]} is the only trained method scored on {split}; train a baseline beside it."
    return f"No verdict: no trained run was scored on {split} under protocol {protocol}."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""What the tables of a report say, as text before any markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conical.metrics import DIRECTIONS as RANKED_DIRECTIONS
from conical.metrics import METRICS, Comparison, MetricValue
from conical.reports.groups import group_rows, refuse_mixture, set_mark
from conical.reports.published import PublishedRow
from conical.reports.rows import RunRow
from conical.reports.samples import DIRECTIONS, HubSample
from conical.store import Sweep, Trial

# others report no median rank
_PUBLISHED_METRICS = ("R1", "R5", "R10", "MeanR")
HEADINGS = {"R1": "R@1", "R5": "R@5", "R10": "R@10", "MedR": "MedR", "MeanR": "MeanR"}
_STATUS_WORDS = {"finished": "completed", "stopped": "stopped", "failed": "failed", "running": "running"}
_ABSENT = "–"
BOLD = (
    "Bold: significantly better than every other run of the table (paired bootstrap on the same queries, all pairs of "
    "runs at once, 5 % in all; one training each, so another training is not covered). Nothing bold: no run is."
)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table as text, before any markup.

    Args:
        title: what stands above it.
        header: heading of each column; the first `num_keys` name the line, the others hold values.
        body: cells, line by line. A first cell that repeats the one above belongs to it.
        best: (line, column) of the values that are significantly better than all others of their kind.
        notes: what a reader must know, below it.
        num_keys: leading columns that name the line.
        optional: columns that a narrow terminal may leave out, the least needed first.
    """

    title: str
    header: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()
    num_keys: int = 1
    optional: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(line) == len(self.header) for line in self.body), self.header

    def spans(self) -> tuple[int, ...]:
        """For each line, how many lines its first cell covers; 0 where the cell above covers it."""
        spans = [0] * len(self.body)
        start = 0
        for index, line in enumerate(self.body):
            if line[0] != self.body[start][0]:
                start = index
            spans[start] += 1
        return tuple(spans)


def format_metric(metric: MetricValue | None) -> str:
    """One decimal and the interval, when there is one.

    >>> format_metric(MetricValue(41.5, 38.0, 45.1))
    '41.5 [38.0, 45.1]'
    """
    if metric is None:
        return _ABSENT
    if metric.low is None:
        return f"{metric.value:.1f}"
    return f"{metric.value:.1f} [{metric.low:.1f}, {metric.high:.1f}]"


def results_grid(rows: Sequence[RunRow]) -> Grid:
    """The table of runs: a line per run and direction; `v2t_any` only where it was ranked.

    Args:
        rows: at least one; all of one protocol, split and set of queries, gallery and family settings.

    Returns:
        The grid, with the values marked that are significantly better than all others of their direction and metric.

    Raises:
        ProtocolError: the rows cannot be compared.
    """
    refuse_mixture(rows)
    first = rows[0]
    header = ("Method", "Direction", *(HEADINGS[metric] for metric in METRICS))
    lines = _lines(rows)
    body = tuple(
        (
            row.label + (" †" if row.has_ties else ""),
            direction,
            *(format_metric(row.metrics.get(f"{direction}/{metric}")) for metric in METRICS),
        )
        for row, direction in lines
    )
    mark = ", uses the target video" if first.uses_target else ""
    title = f"{first.split}, protocol {first.protocol}{mark}: {first.num_queries} queries, {first.num_gallery} videos"
    if first.comparable:
        title += f", set {set_mark(first)}"
    return Grid(
        title=title,
        header=header,
        body=body,
        best=_best_cells(lines),
        notes=_row_notes(rows),
        num_keys=2,
        optional=tuple(header.index(HEADINGS[metric]) for metric in ("MedR", "R5")),
    )


def headline_grid(rows: Sequence[RunRow]) -> Grid | None:
    """The one table to look at first: test, text to video, the standard protocol, three metrics; None without it."""
    on_test = [row for row in rows if (row.split, row.protocol) == ("test", "raw")]
    groups = group_rows(on_test)
    if len(groups) != 1:
        return None
    (group,) = groups
    metrics = ("R1", "R10", "MeanR")
    notes = ["R@k in percent, MeanR the mean rank, lower is better; in brackets 95 % intervals over queries."]
    if any(row.best_in is not None for row in group):
        notes.append(BOLD)
    untrained = [row.label for row in group if row.is_as_loaded]
    if untrained:
        notes.append(f"The untrained model, as no epoch was better on val (best epoch 0): {'; '.join(untrained)}.")
    return Grid(
        title=f"Test, text to video: {group[0].num_queries:,} queries, {group[0].num_gallery:,} videos",
        header=("Method", *(HEADINGS[metric] for metric in metrics)),
        body=tuple(
            (row.label, *(format_metric(row.metrics.get(f"t2v/{metric}")) for metric in metrics)) for row in group
        ),
        best=frozenset(
            (line, column)
            for line, row in enumerate(group)
            for column, metric in enumerate(metrics, start=1)
            if f"t2v/{metric}" in (row.best_in or ())
        ),
        notes=tuple(notes),
    )


def comparisons_grid(comparisons: Sequence[Comparison]) -> Grid:
    """The paired comparisons, one per line."""
    header = ("Run", "Against", "Metric", "Verdict", "Difference [95 %]", "Wins / losses", "Seeds")
    body = tuple(
        (
            c.label_a,
            c.label_b,
            c.metric,
            f"{c.winner} is better" if c.winner else c.verdict,
            format_difference(c),
            f"{c.wins} / {c.losses}",
            str(c.num_seeds),
        )
        for c in comparisons
    )
    notes = ("Wins and losses count the queries on which the metric is better for the one run or the other.",)
    title = "Paired comparisons on the same queries"
    return Grid(title=title, header=header, body=body, notes=notes, num_keys=4, optional=(6, 5))


def format_difference(comparison: Comparison) -> str:
    """The signed difference and its interval."""
    return f"{comparison.difference:+.1f} [{comparison.low:+.1f}, {comparison.high:+.1f}]"


def hubs_grid(samples: Sequence[HubSample]) -> Grid:
    """How unevenly the gallery is retrieved, one run and direction a line."""
    first = samples[0]
    body = tuple(
        (
            sample.label,
            sample.direction,
            f"{sample.skewness:+.2f}",
            f"{sample.counts.max():.0f} of {sample.num_queries}",
            f"{100 * sample.never:.1f} %",
        )
        for sample in samples
    )
    return Grid(
        title=f"Hubness on {first.split}, protocol {first.protocol}: the first {first.k} hits",
        header=("Method", "Direction", "Skewness", "Most retrieved item", "Items never retrieved"),
        body=body,
        notes=(
            f"Skewness of the number of queries that have an item among their first {first.k} hits: near 0 without "
            "hubs, far above it with a few items that turn up everywhere.",
        ),
        num_keys=2,
    )


def sweep_grid(sweep: Sweep) -> Grid:
    """The trials of a sweep, best first, those without a value last."""
    names = sorted({name for trial in sweep.trials for name in trial.settings})
    trials = (*sweep.scored, *(trial for trial in sweep.trials if trial.value is None))
    body = tuple(
        (
            str(trial.number),
            _STATUS_WORDS[trial.status],
            f"{trial.epochs:g}",
            _ABSENT if trial.value is None else f"{trial.value:.1f}" + _likeness(sweep, trial),
            *(format_parameter(trial.settings.get(name)) for name in names),
        )
        for trial in trials
    )
    # one that only has the largest number is the first line, and no more
    is_alone = sweep.indistinguishable == () and len(sweep.scored) > 1
    best = frozenset({(0, 3)} if is_alone else ())
    header = ("Trial", "Status", "Epochs", sweep.metric, *names)
    how = f": {sweep.indistinguishable_test}" if sweep.indistinguishable_test else ""
    notes = (f"≈ not significantly different from the chosen trial{how}.",) if sweep.indistinguishable else ()
    if is_alone:
        notes = (f"Bold: significantly better than every other trial{how}.",)
    return Grid(title=f"Trials, by {sweep.metric}", header=header, body=body, best=best, notes=notes, num_keys=3)


def _likeness(sweep: Sweep, trial: Trial) -> str:
    return " ≈" if trial.number in (sweep.indistinguishable or ()) else ""


def format_parameter(value: float | None) -> str:
    """Two decimals below one (shares of a mix), three digits above (temperatures)."""
    if value is None:
        return _ABSENT
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.3g}"


def published_grid(rows: Sequence[PublishedRow]) -> Grid:
    """Other people's figures, one dataset, backbone and method a line, both directions side by side."""
    lines: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        where = f"{row.dataset} {row.split}, {row.backbone}"
        line = lines.setdefault((where, row.method, "yes" if row.has_extra_data else "no"), {})
        line |= {f"{row.direction} {HEADINGS[name]}": value for name, value in row.metrics.items()}
    shown = [f"{direction} {HEADINGS[name]}" for direction in DIRECTIONS for name in _PUBLISHED_METRICS]
    body = tuple(
        (*keys, *(f"{values[heading]:.1f}" if heading in values else _ABSENT for heading in shown))
        for keys, values in sorted(lines.items(), key=lambda line: _place(line[0][0], lines))
    )
    header = ("Dataset, backbone", "Method", "Extra data", *shown)
    notes = ("Not comparable with the tables of this report: other data, and the protocol is unknown.",)
    title = "Published, not reproduced; protocol unknown"
    return Grid(title=title, header=header, body=body, notes=notes, num_keys=3)


def _place(where: str, keys: Iterable[tuple[str, str, str]]) -> int:
    """Of a group of lines, by first appearance: a group must be in one piece to share its first cell."""
    return list(dict.fromkeys(key[0] for key in keys)).index(where)


def _lines(rows: Sequence[RunRow]) -> list[tuple[RunRow, str]]:
    """Each run with its directions: t2v and v2t always, so that a gap is seen."""
    return [
        (row, direction)
        for row in rows
        for direction in RANKED_DIRECTIONS
        if direction in DIRECTIONS or f"{direction}/{METRICS[0]}" in row.metrics
    ]


def _best_cells(lines: Sequence[tuple[RunRow, str]]) -> frozenset[tuple[int, int]]:
    return frozenset(
        (line, column)
        for line, (row, direction) in enumerate(lines)
        for column, metric in enumerate(METRICS, start=2)
        if f"{direction}/{metric}" in (row.best_in or ())
    )


def _row_notes(rows: Sequence[RunRow]) -> tuple[str, ...]:
    notes = ["Recalls in percent; MedR and MeanR are the median and the mean of 1-based ranks, lower is better."]
    if any(metric.low is not None for row in rows for metric in row.metrics.values()):
        notes[0] += " In brackets: 95 % intervals over queries."
    if any(row.best_in is not None for row in rows):
        notes.append(BOLD)
    if any(direction == "v2t_any" for _, direction in _lines(rows)):
        notes.append(
            "v2t ranks a video's captions as one group, by the best of them; v2t_any ranks all captions singly and "
            "takes the best rank of the video's own."
        )
    if rows[0].comparable:
        notes.append(
            "A set is the same queries, gallery, and settings and bank of the family; only numbers of one set are "
            "compared."
        )
    if rows[0].uses_target:
        notes.append("Each query is joined with text written from its own target video: uses the target video.")
    if any(row.has_ties for row in rows):
        notes.append("† Some scores are tied: the ranks depend on the tie rule (ties share their mean rank here).")
    # what is true of several runs is said once
    labels: dict[str, list[str]] = {}
    for row in rows:
        for note in filter(None, row.note.split("; ")):
            labels.setdefault(note, []).append(row.label)
    for note, named in labels.items():
        notes.append(f"{'All runs' if len(named) == len(rows) > 1 else '; '.join(named)}: {note}")
    return tuple(notes)

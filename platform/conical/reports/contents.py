"""What a report is made of: plain results and stored records, no model or tracking client.

ReportData
├── rows         RunRow: one method on one split under one protocol, its metrics as MetricValue
├── sweep        store's Sweep of Trial: what was searched and what each point scored
├── curves       Curve: one metric over the steps of one run
├── ranks        RankSample: the rank of every query of one run
├── hubs         HubSample: how often each gallery item of one run is retrieved
├── comparisons  metrics' Comparison: two runs on the same queries
├── ablations    Ablation of AblationLine: runs that differ in prompts and captioner alone
├── browser      ErrorBrowser: single queries of two runs, with the clips they retrieved
├── published    PublishedRow: other people's figures, kept in a table of their own
└── provenance   Provenance: what is needed to run it again
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conical.metrics import Comparison
from conical.reports.ablations import Ablation
from conical.reports.browser import ErrorBrowser
from conical.reports.published import PublishedRow
from conical.reports.rows import Curve, RunRow
from conical.reports.samples import HubSample, RankSample
from conical.store import Sweep


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is needed to make the numbers again.

    Args:
        commit: commit of the code, with a mark when the tree was dirty.
        hashes: name to content hash of data, frames, captions, models.
        environment: name to version or device.
        date: when the report was made, ISO 8601.
    """

    config_toml: str
    commit: str
    hashes: Mapping[str, str]
    environment: Mapping[str, str]
    date: str
    command: str


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All of one report; parts that are empty are left out of it.

    Args:
        title: heading of the page.
        rows: results, in the order they are to be read.
        verdict: what may be claimed, in one sentence; "" for nothing.
        dataset: what the rows were scored on; published figures of others are folded away.
        provenance: where the numbers come from.
        select_by: metric of val that chose epochs and trials, and names the best run.
        sweep: the search, if one was made.
        hubs: how often gallery items are retrieved.
        ablations: what prompts and captioners are worth.
        browser: single queries with what they retrieved.
        published: figures of others, never put in the tables of `rows`.
        notes: sentences for the reader.
    """

    title: str
    rows: tuple[RunRow, ...]
    provenance: Provenance
    verdict: str = ""
    dataset: str = ""
    select_by: str = "val/raw/t2v/R1"
    sweep: Sweep | None = None
    curves: tuple[Curve, ...] = ()
    ranks: tuple[RankSample, ...] = ()
    hubs: tuple[HubSample, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    ablations: tuple[Ablation, ...] = ()
    browser: ErrorBrowser | None = None
    published: tuple[PublishedRow, ...] | None = None
    notes: tuple[str, ...] = ()

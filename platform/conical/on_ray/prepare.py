"""All that a run or a sweep reads: frames, and supplements where it takes any."""

from __future__ import annotations

from conical.captioning.mix import HUMAN
from conical.config import Experiment
from conical.core.progress import Report, no_report
from conical.library.importing import import_dataset
from conical.on_ray.caption import caption
from conical.on_ray.ingest import ingest
from conical.store import Workspace


def prepare(experiment: Experiment, workspace: Workspace, report: Report = no_report) -> None:
    """Ingest what is missing, and caption where the mix, its search or a protocol takes supplements."""
    dataset = import_dataset(experiment, workspace, report)
    ingest(experiment, workspace, report, dataset=dataset)
    if needs_supplements(experiment):
        caption(experiment, workspace, report, dataset=dataset)


def needs_supplements(experiment: Experiment) -> bool:
    """Whether the mix, its search, the head or a protocol takes any."""
    is_mixed = set(experiment.mix.sources()) != {HUMAN} or "mix" in experiment.tune.space
    return is_mixed or bool(experiment.evaluate.supplement_prompts or experiment.head_prompts)

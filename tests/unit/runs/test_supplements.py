"""Missing supplements: refused where they are many, said with every number where they are few."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from conical.config import Experiment
from conical.core.errors import ConfigError, DataError
from conical.core.records import FailedCaption, SupplementCount
from conical.metrics import EvaluationName
from conical.on_ray.evaluate import evaluate_run
from conical.on_ray.tune import tune
from conical.runs.comparison import lacking_supplements
from conical.runs.identity import identify
from conical.runs.log import open_tracker
from conical.runs.model_card import model_card
from conical.runs.report.builder import result_row
from conical.runs.state import run_state
from conical.runs.supplements import failure_reasons
from conical.store import Workspace
from unit.runs.scored_runs import (
    SIZES,
    RecordingTracker,
    lose_supplements,
    small_experiment,
    write_run,
    write_workspace,
)

MIXED = "mix={human=0.5, A=0.25, B=0.25}"


@pytest.fixture
def experiment(small_clip) -> Experiment:
    return small_experiment(small_clip, MIXED, "label=mixed", "optim.epochs=1")


@pytest.fixture
def workspace(experiment: Experiment, tmp_path: Path) -> Workspace:
    return write_workspace(experiment, tmp_path / "workspace")


def test_all_supplements_are_there_and_nothing_is_said(experiment: Experiment, workspace: Workspace) -> None:
    record = write_run(experiment, workspace).read()
    assert record.supplements == tuple(
        SupplementCount(prompt_id=prompt, asked=SIZES["train"], written=SIZES["train"]) for prompt in "AB"
    )
    assert record.supplements_note == ""
    untrained = write_run(experiment.replace({"optim.epochs": 0}), workspace).read()
    assert untrained.supplements == ()


@pytest.mark.parametrize(
    ("lost", "max_missing", "message"),
    [
        # no text of one prompt, whatever is allowed and however whole the other one is
        ({"prompts": ("B",)}, 0.9, r"^8 of 8 supplements of prompt B in train failed: 8x refusal: no; mend it and"),
        ({"prompts": ("A", "B")}, 0.9, r"^8 of 8 supplements of prompt A in train failed"),
        ({"number": 1}, 0.0, r"^1 of 8 supplements of prompt B in train failed: .*\(captions\.max_missing, now 0\)$"),
        ({"number": 1}, 0.05, r"^1 of 8 supplements .* run conical caption again, which tries failed texts again, or"),
        ({"number": 3}, 0.25, r"^3 of 8 supplements of prompt B in train failed: 3x refusal: no;"),
        ({"is_tried": False}, 0.9, r"^22 of 44 supplements of prompt A, B are not written: run caption first$"),
        ({"number": 1, "is_tried": False}, 0.9, r"^1 of 44 supplements of prompt A, B are not written: run caption"),
    ],
)
def test_training_refuses_what_is_missing(
    experiment: Experiment, workspace: Workspace, lost: dict[str, Any], max_missing: float, message: str
) -> None:
    experiment = experiment.replace({"captions.max_missing": max_missing})
    lose_supplements(experiment, workspace, **lost)
    with pytest.raises(DataError, match=message):
        identify(experiment, workspace)
    human = experiment.replace({"mix": {"human": 1.0}})
    assert identify(human, workspace).source.supplement_counts == ()


def test_what_is_missing_of_other_splits_or_prompts_does_not_matter(
    experiment: Experiment, workspace: Workspace
) -> None:
    lose_supplements(experiment, workspace, split="test", number=8)
    lose_supplements(experiment, workspace, prompts=("C",))
    assert [count.written for count in identify(experiment, workspace).source.supplement_counts] == [8, 8]


def test_a_few_missing_texts_are_said_wherever_the_run_is_shown(experiment: Experiment, workspace: Workspace) -> None:
    lose_supplements(experiment, workspace, number=2)
    experiment = experiment.replace({"captions.max_missing": 0.25})
    run = write_run(experiment, workspace)
    record = run.read()
    note = "trained with 6 of 8 supplements B"
    assert record.supplements[1] == SupplementCount(prompt_id="B", asked=8, written=6)
    assert record.supplements_note == note
    tracked = open_tracker(experiment, workspace).client.get_run(record.tracking_id)
    assert tracked.data.tags["conical.supplements"] == note
    (val, *_) = evaluate_run(run, workspace, RecordingTracker(), experiment.evaluate)
    assert note in result_row(record, val, record.label).note
    assert lacking_supplements([run]) == (f"mixed ({record.key}) was {note}.",)
    assert note in run_state(experiment, workspace).detail
    assert note in model_card(run, experiment, weights=run.encoder)


def test_mended_texts_make_another_run(experiment: Experiment, workspace: Workspace, tmp_path: Path) -> None:
    whole = identify(experiment, workspace)
    lose_supplements(experiment, workspace, number=2)
    lacking = identify(experiment.replace({"captions.max_missing": 0.25}), workspace)
    assert lacking.depends_on.changes_since(whole.depends_on) == ("captions",)


@pytest.mark.parametrize("protocol", ["captioned-gallery", "paired-supplement"])
def test_scoring_refuses_and_says_what_is_missing_of_the_splits_it_reads(
    experiment: Experiment, workspace: Workspace, protocol: str
) -> None:
    changes = {"evaluate.gallery_prompts": ["B"], "evaluate.paired_prompts": ["B"], "evaluate.protocols": [protocol]}
    experiment = experiment.replace({**changes, "mix": {"human": 1.0}})
    run = write_run(experiment, workspace)
    lose_supplements(experiment, workspace, split="test", number=2)
    with pytest.raises(DataError, match=r"^2 of \d+ supplements of prompt B in .*test.* failed: 2x refusal: no"):
        evaluate_run(run, workspace, RecordingTracker(), experiment.evaluate)
    lenient = experiment.replace({"captions.max_missing": 0.25, "label": "lenient", "seed": 1})
    run = write_run(lenient, workspace)
    scored = {record.name: record for record in evaluate_run(run, workspace, RecordingTracker(), lenient.evaluate)}
    test, val = (scored[EvaluationName(split=split, protocol=protocol)] for split in ("test", "val"))
    assert test.settings_note.endswith(("; 2 videos have no supplement", "; 2 videos lack one"))
    assert not val.settings_note.endswith(("supplement", "one"))


def test_a_search_over_a_mix_is_refused_before_its_first_trial(experiment: Experiment, workspace: Workspace) -> None:
    searched = experiment.replace(
        {
            "mix": {"human": 1.0},
            "tune.space": {"mix": {"simplex": ["human", "B"]}},
            "optim.epochs": 1,
            "optim.batch_size": 4,
        }
    )
    lose_supplements(experiment, workspace)
    with pytest.raises(DataError, match=r"^8 of 8 supplements of prompt B in train failed"):
        tune(searched, workspace, open_tracker(searched, workspace))
    assert not list(workspace.experiment(searched.name).glob("sweeps/*"))


def test_a_prompt_that_is_not_captioned_is_refused(experiment: Experiment, workspace: Workspace) -> None:
    other = experiment.replace({"captions.prompts": ["A"]})
    with pytest.raises(ConfigError, match=r"mix takes supplements of prompt B, but captions.prompts is A"):
        identify(other, workspace)


def test_reasons_are_counted_by_kind_the_most_frequent_first() -> None:
    row = FailedCaption(key="k", video_id="v", prompt_id="B", sample=0, reason="")
    reasons = ["refusal: a", "refusal: b", "refusal: b", "empty text", "empty text", "one: x", "two: y", "three"]
    failures = [dataclasses.replace(row, reason=reason) for reason in reasons]
    assert failure_reasons(failures) == "3x refusal, such as b; 2x empty text; 1x one: x; 2x for other reasons"

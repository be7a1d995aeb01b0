"""Runs are put beside each other when they differ in prompts and captioner alone, and what differs is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conical.metrics import bootstrap_intervals
from conical.runs.report.methods import reported_runs
from conical.runs.report.prompt_ablations import ablation_groups, prompt_ablations
from conical.store import Workspace
from unit.runs.stored_runs import HUMAN, experiment, scored_run

HALF_A = "mix={human=0.5, A=0.5, B=0.0}"
HALF_B = "mix={human=0.5, A=0.0, B=0.5}"


def groups(**overrides: tuple[str, ...]) -> list[list[tuple[str, str]]]:
    return ablation_groups({name: experiment(*words).to_dict() for name, words in overrides.items()})


def test_the_run_with_most_human_captions_is_the_base() -> None:
    assert groups(b=(HALF_B,), plain=(HUMAN,), a=(HALF_A,)) == [
        [
            ("plain", "base: human captions only"),
            ("b", "mix human 0.5, B 0.5, captioner tiny-video-llava"),
            ("a", "mix human 0.5, A 0.5, captioner tiny-video-llava"),
        ]
    ]


def test_another_loss_seed_or_label_makes_no_ablation() -> None:
    assert groups(a=(HALF_A,), plain=(HUMAN, "loss.tau_tv=33")) == []
    assert groups(a=(HALF_A,)) == []
    # a seed and a label tell runs apart, not methods
    assert len(groups(a=(HALF_A, "seed=3", "label=x"), plain=(HUMAN,))) == 1


def test_captioners_of_one_mix_are_compared_by_their_settings() -> None:
    found = groups(
        long=(HALF_A,),
        short=(HALF_A, "captions.generation.max_new_tokens=24"),
        other=(HALF_A, "captions.num_frames=4", "captions.batch_size=16"),
    )
    assert found == [
        [
            ("long", "base: mix human 0.5, A 0.5, captioner tiny-video-llava"),
            ("short", "captions.generation.max_new_tokens 96 → 24"),
            ("other", "captions.num_frames 8 → 4"),
        ]
    ]


def test_captions_that_a_mix_does_not_read_are_no_difference() -> None:
    assert groups(a=(HUMAN,), b=(HUMAN, "captions.num_frames=4")) == []


def test_own_prompts_count_like_the_others() -> None:
    own = 'captions.custom_prompts={mine="What is new?"}'
    prompts = 'captions.prompts=["A","mine"]'
    found = groups(plain=(HUMAN,), mine=(own, prompts, "mix={human=0.5, mine=0.5}"))
    assert found[0][1] == ("mine", "mix human 0.5, mine 0.5, captioner tiny-video-llava")


def test_values_are_means_over_seeds_and_differences_are_paired(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    folders = [
        scored_run(workspace, label, mix, f"seed={seed}", key=f"{label}{seed}", skill=skill + seed / 4)
        for label, mix, skill in (("plain", HUMAN, 0.2), ("with A", HALF_A, 3.0))
        for seed in (0, 1)
    ]
    runs = reported_runs(folders, None)
    (found,) = prompt_ablations(runs, split="test", protocol="raw")
    base, line = found.lines
    assert (base.label, line.label, line.num_seeds, base.against_base) == ("plain", "with A", 2, {})
    scored = [run.evaluations["test/raw"] for run in runs if run.method == "with A"]
    assert line.metrics["R1"].value == pytest.approx(np.mean([one.metrics["t2v/R1"].value for one in scored]))
    interval = bootstrap_intervals(
        [one.rankings["t2v"] for one in scored], metrics=("R1",), groups=scored[0].text_video
    )["R1"]
    assert (line.metrics["R1"].low, line.metrics["R1"].high) == (interval.low, interval.high)
    assert line.against_base["R1"].difference == pytest.approx(line.metrics["R1"].value - base.metrics["R1"].value)
    assert (line.against_base["R10"].metric, line.against_base["R1"].num_seeds) == ("test/raw/t2v/R10", 2)
    assert (found.num_queries, found.num_gallery) == (24, 12)


def test_runs_without_a_common_seed_make_no_ablation(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    folders = [scored_run(workspace, "plain", key="p"), scored_run(workspace, "with A", HALF_A, "seed=4", key="a")]
    assert prompt_ablations(reported_runs(folders, None), split="test", protocol="raw") == []

"""Two runs on the same queries: ties count as chances, and unlike is not compared with unlike."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from conical.config import load_experiment
from conical.core.errors import DataError, ProtocolError
from conical.metrics import Ranking
from conical.runs.comparison import compare_methods, same_weights, unpaired_seeds
from conical.store import EvaluationRecord, RunFolder, RunRecord

NUM = 40


def ranking(better, tied=0, num_gallery: int = NUM) -> Ranking:
    better = np.asarray(better)
    ones = np.ones(len(better), np.int64)
    return Ranking(better=better, tied=tied * ones, positives_tied=ones, num_gallery=num_gallery)


def evaluation(better, *, tied=0, v2t=None, **changes: object) -> EvaluationRecord:
    found = ranking(better, tied)
    back = ranking(v2t if v2t is not None else better)
    record = EvaluationRecord(
        split="test",
        protocol="raw",
        metrics={},
        num_queries=NUM,
        num_gallery=NUM,
        has_ties=bool(tied),
        ranks_t2v=found.values(),
        ranks_v2t=back.values(),
        rankings={"t2v": found, "v2t": back},
        similarity=np.zeros((NUM, NUM), np.float32),
        video_ids=tuple(f"v{number}" for number in range(NUM)),
        texts=tuple(f"text {number}" for number in range(NUM)),
        text_video=np.arange(NUM),
        hashes={"queries": "q", "gallery": "g"},
    )
    return dataclasses.replace(record, **changes)


@pytest.fixture
def new_run(tmp_path: Path):
    def make(
        label: str, *records: EvaluationRecord, seed: int = 0, key: str = "", settings: tuple[str, ...] = (), **changes
    ) -> RunFolder:
        folder = RunFolder(tmp_path / "runs" / (key or f"{label}{seed}"))
        folder.write(
            RunRecord(
                key=folder.path.name,
                label=label,
                status="finished",
                seed=seed,
                tracking_id="t",
                config=load_experiment(None, [f"seed={seed}", *settings]).to_dict(),
                **{"data_hashes": {}, "environment": {}, **changes},
            )
        )
        for record in records:
            folder.write_evaluation(record)
        return folder

    return make


FIRST, LATE = np.zeros(NUM, np.int64), np.full(NUM, 20)
HALF = np.where(np.arange(NUM) < NUM // 2, 0, 20)


def test_difference_wins_and_losses_of_one_query_each(new_run) -> None:
    better = HALF.copy()
    better[0], better[-1], better[-2] = 20, 0, 0
    found = compare_methods([new_run("a", evaluation(better))], [new_run("b", evaluation(HALF))], split="test")
    # one query lost, two won, of 40
    assert found.difference == pytest.approx(100 / 40)
    assert (found.wins, found.losses, found.num_seeds) == (2, 1, 1)
    assert found.verdict == "no significant difference"
    assert found.metric == "test/raw/t2v/R1"


def test_a_tie_for_the_first_place_is_half_a_hit(new_run) -> None:
    # every own video ties with one other: expected rank 1.5, hit with probability 1/2
    tied, late = new_run("tied", evaluation(FIRST, tied=1)), new_run("late", evaluation(LATE))
    assert compare_methods([tied], [late], split="test").difference == pytest.approx(50.0)
    assert compare_methods([tied], [new_run("first", evaluation(FIRST))], split="test").difference == pytest.approx(-50)


def test_video_to_text_is_a_direction_of_its_own(new_run) -> None:
    a, b = new_run("a", evaluation(HALF, v2t=FIRST)), new_run("b", evaluation(HALF, v2t=LATE))
    assert compare_methods([a], [b], split="test").difference == 0
    found = compare_methods([a], [b], split="test", direction="v2t", metric="MeanR")
    assert (found.metric, found.difference, found.verdict) == ("test/raw/v2t/MeanR", -20.0, "a is better")


def test_seeds_are_paired(new_run) -> None:
    a = [new_run("a", evaluation(FIRST), seed=seed) for seed in (0, 1, 2)]
    b = [new_run("b", evaluation(HALF if seed else LATE), seed=seed) for seed in (0, 1, 3)]
    found = compare_methods(a, b, split="test")
    # seed 0 gains 100 points, seed 1 gains 50; seeds 2 and 3 have no partner
    assert (found.num_seeds, found.difference) == (2, 75.0)


def test_family_and_subset_are_part_of_what_is_compared(new_run) -> None:
    a = new_run("a", evaluation(FIRST, family="dsl", subset="leak-free"))
    b = new_run("b", evaluation(HALF, family="dsl", subset="leak-free"))
    found = compare_methods([a], [b], split="test", family="dsl", subset="leak-free")
    assert found.metric == "test-leak-free/raw.dsl/t2v/R1"
    with pytest.raises(DataError, match=r"run a0 \(a\) was not scored on test/raw, but on test-leak-free/raw.dsl: run"):
        compare_methods([a], [b], split="test")


def test_a_run_that_was_not_scored_is_named(new_run) -> None:
    with pytest.raises(DataError, match=r"run b0 \(b\) was not scored on test/raw, but on nothing: run evaluate first"):
        compare_methods([new_run("a", evaluation(FIRST))], [new_run("b")], split="test")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("queries", {"hashes": {"queries": "other", "gallery": "g"}}),
        ("gallery", {"hashes": {"queries": "q", "gallery": "other"}}),
        ("bank", {"family": "qbnorm", "hashes": {"queries": "q", "gallery": "g", "bank": "other"}}),
        ("settings of the family", {"family": "qbnorm", "settings": {"qbnorm": {"beta": 5.0}}}),
    ],
)
def test_what_was_scored_otherwise_is_refused(new_run, part: str, change: dict) -> None:
    family = change.get("family")
    a = new_run("a", evaluation(FIRST, family=family, settings={"qbnorm": {"beta": 20.0}}))
    b = new_run("b", evaluation(FIRST, **{"settings": {"qbnorm": {"beta": 20.0}}, **change}))
    with pytest.raises(ProtocolError, match=f"were scored with different {part} .*: evaluate them again in the same"):
        compare_methods([a], [b], split="test", family=family)


def test_fusion_weights_may_differ_since_each_run_chose_its_own(new_run) -> None:
    a, b = (
        new_run(label, evaluation(FIRST, protocol="captioned-gallery", settings={"fusion": {"weight": weight}}))
        for label, weight in (("a", 0.1), ("b", 0.9))
    )
    assert compare_methods([a], [b], split="test", protocol="captioned-gallery").difference == 0


def test_methods_without_a_common_seed_are_refused(new_run) -> None:
    a, b = new_run("a", evaluation(FIRST), seed=1), new_run("b", evaluation(FIRST), seed=2)
    with pytest.raises(DataError, match=r"no common seed: 'a' has \[1\], 'b' has \[2\]"):
        compare_methods([a], [b], split="test")


def test_a_direction_that_does_not_exist_is_refused(new_run) -> None:
    a, b = new_run("a", evaluation(FIRST)), new_run("b", evaluation(FIRST))
    with pytest.raises(ValueError, match="direction must be one of t2v, v2t, v2t_any; got 'v2v'"):
        compare_methods([a], [b], split="test", direction="v2v")
    with pytest.raises(DataError, match="test/raw has no ranks of direction 'v2t_any', only of t2v, v2t: v2t_any"):
        compare_methods([a], [b], split="test", direction="v2t_any")


def test_two_runs_of_one_seed_are_compared_by_key_only(new_run) -> None:
    twice = [new_run("a", evaluation(better), key=key) for better, key in ((FIRST, "k1"), (LATE, "k2"))]
    other = [new_run("b", evaluation(HALF))]
    for a, b in ((twice, other), (other, twice)):
        with pytest.raises(DataError, match=r"^'a' has 2 runs of seed 0 \(k1, k2\): compare them by key$"):
            compare_methods(a, b, split="test")
    assert compare_methods(twice[:1], twice[1:], split="test").difference == 100


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": ("loss.tau_tv=90.0",)}, "loss.tau_tv"),
        ({"settings": ("optim.learning_rate=1e-5", "augment.rotation_degrees=0.0")}, "augment.*, optim.learning_rate"),
        ({"settings": ("captions.captioner=template",), "data_hashes": {"captions": "other"}}, "captions"),
        ({"data_hashes": {"frames": "other"}}, "frames"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_no_seeds_of_one_method(new_run, changes: dict, named: str) -> None:
    a = [new_run("a", evaluation(FIRST)), new_run("a", evaluation(LATE), seed=1, **changes)]
    b = [new_run("b", evaluation(HALF), seed=seed) for seed in (0, 1)]
    for one, other in ((a, b), (b, a)):
        with pytest.raises(DataError, match=rf"^runs a0 and a1, both 'a', are not two seeds .*since {named} differ"):
            compare_methods(one, other, split="test")


def test_a_method_that_training_did_not_improve_is_marked(new_run) -> None:
    kept = [new_run("kept", evaluation(LATE), seed=seed, val_value=9.0, best_epoch=0) for seed in (0, 1)]
    mixed = [new_run("mixed", evaluation(FIRST), seed=seed, val_value=9.0, best_epoch=seed) for seed in (0, 1)]
    found = compare_methods(mixed, kept, split="test")
    assert (found.label_a, found.label_b) == ("mixed", "kept (as loaded)")


def test_runs_of_the_same_weights_are_named() -> None:
    one, other = (evaluation(FIRST, depends_on={"data": {"encoder": encoder}}) for encoder in ("1", "2"))
    unknown = evaluation(FIRST)
    assert same_weights({"a": one, "b": other, "c": unknown, "d": unknown}) == ()
    (note,) = same_weights({"a": one, "b": other, "c": one})
    assert note.startswith("Of the same weights")
    assert note.endswith("training: a; c.")


def test_a_run_is_not_compared_with_itself(new_run) -> None:
    run = new_run("a", evaluation(FIRST))
    with pytest.raises(DataError, match=r"run a0 \(a\) would be compared with itself: name two different runs"):
        compare_methods([run], [run], split="test")


def test_seeds_without_a_partner_are_said(new_run) -> None:
    a = [new_run("a", seed=seed) for seed in (0, 1, 2)]
    b = [new_run("b", seed=seed) for seed in (0, 3)]
    assert unpaired_seeds(a, b) == "Left out, as the other has no run of it: seed 1, 2 of a; seed 3 of b."
    assert unpaired_seeds(a[:1], b[:1]) == ""

"""Names of metrics: spelled in one place, accepted by MLflow, taken apart again."""

from __future__ import annotations

import itertools

import pytest

from conical.metrics import (
    DIRECTIONS,
    FAMILIES,
    METRICS,
    SUBSETS,
    EvaluationName,
    higher_is_better,
    merit,
    metric_name,
    parse_metric_name,
    readable,
)

# the house's, and one that only its own lab knows
PROTOCOLS = ("raw", "captioned-gallery", "paired-supplement", "my-lab-2")
ALL_NAMES = [
    metric_name(*parts)
    for parts in itertools.product(
        ("train", "val", "test"), PROTOCOLS, DIRECTIONS, METRICS, (None, *FAMILIES), (None, *SUBSETS)
    )
]


def test_names_are_spelled_as_designed() -> None:
    assert metric_name("test", "raw", "t2v", "R1") == "test/raw/t2v/R1"
    assert metric_name("val", "captioned-gallery", "v2t_any", "MeanR") == "val/captioned-gallery/v2t_any/MeanR"
    assert metric_name("test", "raw", "t2v", "R1", family="dsl") == "test/raw.dsl/t2v/R1"
    assert metric_name("test", "raw", "t2v", "R1", family="qbnorm", subset="leak-free") == (
        "test-leak-free/raw.qbnorm/t2v/R1"
    )


def test_recalls_are_better_when_higher_and_ranks_when_lower() -> None:
    directions = {"R1": True, "R5": True, "R10": True, "MedR": False, "MeanR": False}
    assert directions.keys() == set(METRICS)
    for metric, is_higher in directions.items():
        for name in (metric, f"v2t/{metric}", f"val/raw/v2t/{metric}"):
            assert higher_is_better(name) is is_higher
            assert (merit(name, 2.0) > merit(name, 1.0)) is is_higher


def test_people_read_a_metric_without_slashes() -> None:
    assert readable("val/raw/t2v/R1") == "val t2v R@1"
    assert readable("val/raw/v2t_any/MedR") == "val v2t_any MedR"
    assert readable("test-leak-free/paired-supplement.dsl/t2v/R10") == "test-leak-free paired-supplement.dsl t2v R@10"
    assert len({readable(name) for name in ALL_NAMES}) == len(ALL_NAMES)
    with pytest.raises(ValueError, match="a metric name must have the form"):
        readable("R1")


def test_an_evaluation_is_named_by_part_and_scores() -> None:
    plain = EvaluationName(split="val")
    assert (str(plain), plain.part, plain.scores) == ("val/raw", "val", "raw")
    paired = EvaluationName(split="test", protocol="paired-supplement", family="dsl", subset="leak-free")
    assert str(paired) == "test-leak-free/paired-supplement.dsl"


def test_names_are_unique_and_can_be_taken_apart() -> None:
    assert len(set(ALL_NAMES)) == len(ALL_NAMES)
    for name in ALL_NAMES:
        assert str(parse_metric_name(name)) == name


def test_mlflow_accepts_every_name() -> None:
    # the rule of MLflow 3 for a metric's key, which refuses R@1 and raw+dsl
    validation = pytest.importorskip("mlflow.utils.validation")
    for name in ALL_NAMES:
        validation._validate_metric_name(name)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("test", "raw", "t2v", "R@1"), "metric must not hold '@', got 'R@1': MLflow refuses it, write R1"),
        (("test", "raw", "t2v", "R2"), "metric must be one of R1, R5, R10, MedR, MeanR; got 'R2'"),
        (("test", "Raw", "t2v", "R1"), "protocol must be lower case letters and digits, .* got 'Raw'"),
        (("test", "my_lab", "t2v", "R1"), "protocol must be lower case letters and digits, .* got 'my_lab'"),
        (("test", "raw-", "t2v", "R1"), "with single hyphens between, got 'raw-'"),
        (("test", "raw", "t2w", "R1"), "direction must be one of t2v, v2t, v2t_any; got 't2w'"),
        (("tset", "raw", "t2v", "R1"), "split must be one of train, val, test; got 'tset'. Did you mean 'test'"),
        (("test", "raw", "t2v", "R1", "qb.norm"), "family must be lower case letters and digits, .* got 'qb.norm'"),
        (("test", "raw", "t2v", "R1", None, "leakfree"), "subset must be one of leak-free; got 'leakfree'"),
    ],
)
def test_unknown_parts_are_refused(parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric_name(*parts)


@pytest.mark.parametrize("name", ["R1", "test/raw/R1", "test/raw/t2v/R1/more"])
def test_other_forms_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must have the form split/protocol/direction/metric"):
        parse_metric_name(name)


def test_an_empty_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"family must be lower case letters and digits, .* got ''"):
        parse_metric_name("test/raw./t2v/R1")


def test_an_empty_subset_is_refused() -> None:
    with pytest.raises(ValueError, match="subset must be one of leak-free; got ''"):
        parse_metric_name("test-/raw/t2v/R1")

"""Protocols and families as rows: found by name, brought from outside, and read without torch."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import conical
from conical.core.errors import ConfigError
from conical.engine.options import EvaluateOptions
from conical.engine.protocols import PROTOCOLS, Protocol
from conical.engine.protocols.captioned_gallery import CAPTIONED_GALLERY
from conical.engine.scorer import Scorer
from conical.engine.selection import SelectionSet, score_selection
from conical.metrics import FAMILIES, EvaluationName, Family
from unit.engine.test_selection import evaluation_set

LAB = Protocol(name="lab")
CALLED_RAW = Protocol(name="raw")
HALVED = Family(name="halved", rescore=lambda scores, *, share: scores * share, parameters={"share": 0.5})
NO_ROW = 3
HERE = __name__


def test_each_row_is_called_by_its_key_and_names_existing_options() -> None:
    fields = {item.name for item in dataclasses.fields(EvaluateOptions)}
    for table in (PROTOCOLS, FAMILIES):
        assert [row.name for row in table.values()] == list(table)
    for protocol in PROTOCOLS.values():
        assert set(protocol.options) <= fields
    for family in FAMILIES.values():
        assert set(family.options.values()) <= fields


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_familys_parameters_have_one_default(family: Family) -> None:
    assert family.set_by(EvaluateOptions()) == family.parameters
    keywords = inspect.signature(family.rescore).parameters
    assert {name: keywords[name].default for name in family.parameters} == family.parameters


@pytest.mark.parametrize(
    "module",
    ["conical.engine.options", "conical.engine.protocols", "conical.metrics.families.table", "conical.metrics"],
)
def test_rows_are_read_without_torch_or_ray(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'ray'}} & sys.modules.keys()))"
    environment = {"PYTHONPATH": str(Path(conical.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_row_from_outside_goes_by_its_own_name() -> None:
    options = EvaluateOptions(protocols=("raw", f"{HERE}:LAB"), families=(f"{HERE}:HALVED",), splits=("val",))
    assert [str(name) for name in options.names()] == ["val/raw", "val/raw.halved", "val/lab", "val/lab.halved"]
    assert options.protocol("lab") is LAB
    assert options.only([EvaluationName(split="val", protocol="lab")]).protocols == (f"{HERE}:LAB",)
    # a parameter that no setting names is written down too
    assert options.behind(EvaluationName(split="val", protocol="lab", family="halved")) == {"share": 0.5}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("captioned",),
            "protocols must be one of raw, captioned-gallery, paired-supplement; got 'captioned'. Did",
        ),
        ((f"{HERE}:GONE",), "protocols '.*:GONE' cannot be imported: module .* has no attribute 'GONE'"),
        ((f"{HERE}:NO_ROW",), "protocols '.*:NO_ROW' must be a Protocol, got a int"),
        ((f"{HERE}:CALLED_RAW",), "'.*:CALLED_RAW' is called 'raw' like one of raw, captioned-gallery, .*: give it"),
        ((f"{HERE}:LAB", f"{HERE}:LAB"), "protocols must name each once, got lab, lab"),
        ((), "protocols must name at least one of raw, captioned-gallery, paired-supplement; got none"),
    ],
)
def test_words_that_name_no_protocol_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateOptions(protocols=words)


def test_a_family_is_no_protocol() -> None:
    with pytest.raises(ConfigError, match=r"families '.*:LAB' must be a Family, got a Protocol"):
        EvaluateOptions(families=(f"{HERE}:LAB",))
    with pytest.raises(ValueError, match="family 'dsl' is not among those asked for: none"):
        EvaluateOptions().family("dsl")
    with pytest.raises(ValueError, match="protocol must be lower case letters and digits"):
        Protocol(name="My_Lab")
    with pytest.raises(ValueError, match=r"options and scale of family x must be of its parameters, got \{'tau'\}"):
        Family(name="x", rescore=np.negative, scale="tau")


def test_what_an_evaluation_depends_on_is_its_rows_alone() -> None:
    options = EvaluateOptions(protocols=tuple(PROTOCOLS), families=tuple(FAMILIES))
    plain = EvaluationName(split="test")
    assert (options.behind(plain), options.splits_behind(plain)) == ({}, ("test",))
    both = EvaluationName(split="test", protocol=CAPTIONED_GALLERY.name, family="qbnorm")
    assert list(options.behind(both)) == ["gallery_prompts", "fusion_weights", "qbnorm_beta", "qbnorm_k", "qbnorm_bank"]
    assert options.splits_behind(both) == ("test", "train", "val")


def test_val_is_scored_while_training_as_it_is_scored_at_the_end(small_encoder) -> None:
    data = SelectionSet.of(evaluation_set("val", num_videos=3, text_video=(0, 0, 1, 2)))
    # families and protocols of the settings change nothing here
    options = EvaluateOptions(families=("dsl",), num_resamples=100)
    chosen = score_selection(small_encoder, data, options, metric="val/raw/t2v/R1")
    assert small_encoder.training
    final = Scorer(small_encoder, options, sets={"val": data}).score(EvaluationName(split="val"))
    assert chosen.values == {f"val/raw/{name}": metric.value for name, metric in final.metrics.items()}
    assert all(metric.low is not None for metric in final.metrics.values())
    assert chosen.ranked is not None
    np.testing.assert_array_equal(chosen.ranked.ranking.better, final.rankings["t2v"].better)

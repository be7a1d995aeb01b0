from __future__ import annotations

import numpy as np
import pytest

from conical.reports import Curve, HubSample, MetricValue, RankSample
from unit.reports.report_factory import row


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((float("nan"),), "value must be finite, got nan"),
        ((1.0, 0.5), "give low and high or neither, got 0.5 and None"),
        ((1.0, 2.0, 0.5), r"finite low <= high, got \[2.0, 0.5\]"),
        ((1.0, 0.0, float("inf")), "finite low <= high"),
        ((1.0, None, None, 2.0, None), "give tie_low and tie_high or neither, got 2.0 and None"),
    ],
)
def test_a_metric_refuses_what_is_no_number_or_interval(numbers: tuple[float | None, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetricValue(*numbers)


def test_a_row_refuses_unknown_metrics_and_empty_counts() -> None:
    with pytest.raises(ValueError, match=r"num_queries must be >= 1, got 0"):
        row(num_queries=0)
    with pytest.raises(ValueError, match=r"num_gallery must be >= 1, got 0"):
        row(num_gallery=0)
    with pytest.raises(ValueError, match=r"metric key must be one of .*; got 't2v/R2'. Did you mean"):
        type(row())(
            label="x",
            run_id="x",
            protocol="raw",
            split="val",
            metrics={"t2v/R2": MetricValue(1.0)},
            num_queries=1,
            num_gallery=1,
        )


def test_a_curve_needs_a_value_a_step() -> None:
    with pytest.raises(ValueError, match="needs a value per step, got 2 steps and 1 values"):
        Curve(label="x", name="train/loss", steps=(1, 2), values=(0.5,))


@pytest.mark.parametrize("ranks", [[0.5], [4.0], [[1.0]], [float("nan")]])
def test_ranks_lie_within_the_gallery(ranks: list[float]) -> None:
    with pytest.raises(ValueError, match=r"ranks of 'x' must be a vector within 1\.\.3"):
        RankSample(label="x", split="val", protocol="raw", direction="t2v", ranks=np.array(ranks), num_gallery=3)


def test_ranks_have_a_direction() -> None:
    with pytest.raises(ValueError, match="direction must be one of t2v, v2t; got 'v2v'"):
        RankSample(label="x", split="val", protocol="raw", direction="v2v", ranks=np.ones(1), num_gallery=3)


def test_hub_counts_lie_within_the_queries_and_print_shapes() -> None:
    fields = {"label": "x", "split": "val", "protocol": "raw", "direction": "t2v", "k": 10, "num_queries": 3}
    sample = HubSample(counts=np.array([0.0, 0.25, 3.0]), **fields)
    assert sample.never == pytest.approx(2 / 3)
    assert repr(sample) == "HubSample('x', val/raw/t2v, counts=(3,))"
    for counts in ([-1.0], [4.0], [[1.0]], [float("nan")]):
        with pytest.raises(ValueError, match=r"counts of 'x' must be a vector within 0\.\.3"):
            HubSample(counts=np.array(counts), **fields)
    with pytest.raises(ValueError, match="direction must be one of t2v, v2t; got 'v2v'"):
        HubSample(counts=np.ones(1), **{**fields, "direction": "v2v"})

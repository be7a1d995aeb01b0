from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from conical.reports import ReportData, Sweep, Trial
from conical.reports.figures import report_drawings
from conical.reports.filmstrips import frame_uris
from conical.reports.sweep_figures import sweep_drawings
from unit.reports.report_factory import report, row, shapes, sweep


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report()


def test_every_part_of_a_full_report_is_drawn(data: ReportData) -> None:
    drawings = report_drawings(data)
    assert {section: [drawing.name for drawing in found] for section, found in drawings.items()} == {
        "results": ["recall_val_raw_q100_g100", "recall_test_raw_q200_g200"],  # one run alone is not drawn
        "sweep": ["temperatures", "prompt_mix", "parallel_coordinates"],
        "curves": ["learning_curves"],
        "ranks": ["ranks_test_raw_g200"],
    }
    for drawing in (drawing for found in drawings.values() for drawing in found):
        assert drawing.png.startswith(b"\x89PNG")
        assert b"<svg" in drawing.svg
        assert drawing.told


def test_drawing_leaves_pyplot_alone(data: ReportData) -> None:
    report_drawings(dataclasses.replace(data, curves=(), ranks=(), sweep=None))
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_same_data_give_the_same_bytes() -> None:
    first, second = sweep_drawings(sweep(4)), sweep_drawings(sweep(4))
    assert [drawing.svg for drawing in first] == [drawing.svg for drawing in second]
    assert [drawing.png for drawing in first] == [drawing.png for drawing in second]


def test_words_name_the_chosen_trial_and_count_the_others() -> None:
    temperatures, mix, _ = sweep_drawings(sweep())
    assert "n = 11 trials, 4 stopped early, 1 more without a value" in temperatures.told
    assert "Best: trial 2 with tau_tv 41.8" in temperatures.told
    assert "human 16%, A 14%" in mix.told


def test_a_sweep_draws_only_what_was_searched() -> None:
    def of(count: int = 2, **params: float) -> list[str]:
        names = {name.replace("__", "."): value for name, value in params.items()}
        trials = tuple(Trial(number=n, params=names, value=10.0, status="completed", epochs=1) for n in range(count))
        return [d.name for d in sweep_drawings(Sweep(metric_name="val/raw/t2v/R1", trials=trials, best_number=0))]

    assert of(loss__tau_tv=20.0) == ["temperatures"]
    assert of(mix__human=0.5, mix__A=0.5) == ["prompt_mix", "parallel_coordinates"]
    assert of(count=1, mix__human=0.5, mix__A=0.5) == ["prompt_mix"]
    assert of(optim__lr=1e-4) == []


def test_a_sweep_without_a_value_draws_nothing() -> None:
    trial = Trial(number=0, params={"loss.tau_tv": 2.0}, value=None, status="failed", epochs=0)
    assert sweep_drawings(Sweep(metric_name="m", trials=(trial,), best_number=None)) == ()


def test_dollar_signs_in_a_label_are_text(data: ReportData) -> None:
    rows = (row("costs $5 $ \\frac{", recall=30.0), row("b", recall=31.0))
    empty = dataclasses.replace(data, rows=rows, sweep=None, curves=(), ranks=())
    assert len(report_drawings(empty)["results"]) == 1


def test_a_filmstrip_keeps_first_and_last_of_many_frames() -> None:
    strip = shapes(3, frames=25)
    uris = frame_uris(strip)
    assert len(uris) == 10
    assert uris[0] == frame_uris(strip[:1])[0]
    assert uris[-1] == frame_uris(strip[-1:])[0]


def test_large_frames_are_shrunk() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1, 640, 640, 3), dtype=np.uint8)
    assert len(frame_uris(large)[0]) < 40_000
    assert frame_uris(large)[0].startswith("data:image/jpeg;base64,")

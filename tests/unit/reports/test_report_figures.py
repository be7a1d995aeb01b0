from __future__ import annotations

import base64
import dataclasses
import io
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from conical.reports import HubSample, ReportData, rank_figures
from conical.reports.figures import report_drawings
from conical.reports.filmstrips import Strip, strip_of
from conical.reports.plotting import Drawing
from conical.reports.sweep_figures import shades_of, sweep_drawings
from unit.reports.report_factory import LABELS, report, row, sweep, sweep_of, trial


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report()


@pytest.fixture(scope="module")
def drawings(data: ReportData) -> dict[str, tuple[Drawing, ...]]:
    return report_drawings(data)


def test_every_part_of_a_full_report_is_drawn(drawings: dict[str, tuple[Drawing, ...]]) -> None:
    assert {section: [drawing.name for drawing in found] for section, found in drawings.items()} == {
        "results": ["recall_val_raw_q100_g100", "recall_test_raw_q200_g200"],  # one run alone is not drawn
        "sweep": ["temperatures", "prompt_mix", "mix_marginals", "parallel_coordinates"],
        "curves": ["learning_curves"],
        "ranks": ["ranks_test_raw_g200"],
        "hubs": ["hubs_test_raw_k10"],
    }
    for drawing in (drawing for found in drawings.values() for drawing in found):
        assert drawing.png.startswith(b"\x89PNG")
        assert b"<svg" in drawing.svg
        assert drawing.told


def test_drawing_leaves_pyplot_alone(drawings: dict[str, tuple[Drawing, ...]]) -> None:
    assert drawings["results"]
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_same_data_give_the_same_bytes() -> None:
    first, second = sweep_drawings(sweep(3)), sweep_drawings(sweep(3))
    assert [drawing.svg for drawing in first] == [drawing.svg for drawing in second]
    assert [drawing.png for drawing in first] == [drawing.png for drawing in second]


def test_words_name_the_chosen_trial_and_count_the_others(drawings: dict[str, tuple[Drawing, ...]]) -> None:
    temperatures, mix, marginals, _ = drawings["sweep"]
    assert "n = 11 trials, 4 stopped early, 1 more without a value" in temperatures.told
    assert "Best: trial 2 with tau_tv 41.8" in temperatures.told
    assert "human 16%, A 14%" in mix.told
    assert "val/raw/t2v/R1 against the share of each text source" in marginals.told
    assert "human 0.162" in marginals.told


def test_a_sweep_draws_only_what_was_searched() -> None:
    def of(count: int = 2, **params: float) -> list[str]:
        names = {name.replace("__", "."): value for name, value in params.items()}
        trials = tuple(trial(n, 10.0, settings=names) for n in range(count))
        return [d.name for d in sweep_drawings(sweep_of(*trials))]

    assert of(loss__tau_tv=20.0) == ["temperatures"]
    assert of(mix__human=0.5, mix__A=0.5) == ["prompt_mix", "mix_marginals", "parallel_coordinates"]
    assert of(count=1, mix__human=0.5, mix__A=0.5) == ["prompt_mix", "mix_marginals"]
    assert of(optim__learning_rate=1e-4) == ["other_parameters"]
    assert of(optim__epochs=0.0) == ["other_parameters"]


def test_a_sweep_without_a_value_draws_nothing() -> None:
    failed = trial(0, None, settings={"loss.tau_tv": 2.0}, status="failed")
    assert sweep_drawings(sweep_of(failed)) == ()


def test_the_best_of_a_metric_of_ranks_is_the_lowest() -> None:
    trials = [trial(n, value, settings={"loss.tau_tv": 10.0 + n}) for n, value in enumerate((9.0, 2.0, 5.0))]
    (drawing,) = sweep_drawings(sweep_of(*trials, metric="val/raw/t2v/MedR"))
    assert "Best: trial 1 with tau_tv 11" in drawing.told
    assert b"val/raw/t2v/MedR (rank)" in drawing.svg


def test_a_sweep_without_a_winner_names_none() -> None:
    (drawing,) = sweep_drawings(sweep_of(trial(0, 9.0, settings={"loss.tau_tv": 2.0}, status="failed")))
    assert drawing.told.endswith("n = 1 trials, 0 stopped early.")


@pytest.mark.parametrize(("metric", "order"), [("val/raw/t2v/R1", [0, 1, 2]), ("val/raw/t2v/MeanR", [2, 1, 0])])
def test_the_better_a_score_the_darker_its_line(metric: str, order: list[int]) -> None:
    brightness = [sum(shade[:3]) for shade in shades_of([10.0, 20.0, 30.0], metric)]
    assert sorted(range(3), key=lambda index: -brightness[index]) == order


def test_dollar_signs_in_a_label_are_text(data: ReportData) -> None:
    rows = (row("costs $5 $ \\frac{", recall=30.0), row("b", recall=31.0))
    empty = dataclasses.replace(data, rows=rows, sweep=None, curves=(), ranks=(), hubs=())
    assert len(report_drawings(empty)["results"]) == 1


def test_histograms_hold_every_rank_and_every_item(data: ReportData) -> None:
    for draw, samples in ((rank_figures._rank_histogram, data.ranks), (rank_figures._hub_histogram, data.hubs)):
        figure = draw(samples, dict.fromkeys((sample.label for sample in samples), "#000000"))
        for panel in figure.axes:
            labels = len({sample.label for sample in samples})
            assert sum(bar.get_height() for bar in panel.patches) == pytest.approx(100 * labels)


def test_ranges_double_and_end_at_the_largest_value() -> None:
    counts = np.array([0.0, 1, 2, 3, 4, 5.4])
    sample = HubSample(label="a", split="test", protocol="raw", direction="t2v", counts=counts, k=10, num_queries=9)
    (panel,) = rank_figures._hub_histogram([sample], {"a": "#000000"}).axes
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0", "1", "2–3", "4–5"]
    assert [bar.get_height() for bar in panel.patches] == pytest.approx([100 / 6, 100 / 6, 100 / 3, 100 / 3])


def test_words_tell_the_skewness_of_each_run(data: ReportData, drawings: dict[str, tuple[Drawing, ...]]) -> None:
    (drawing,) = drawings["hubs"]
    assert f"{LABELS[4]} t2v {data.hubs[2].skewness:+.1f}" in drawing.told


def picture(strip: Strip) -> np.ndarray:
    content = base64.b64decode(strip.uri.removeprefix("data:image/jpeg;base64,"))
    return imread(io.BytesIO(content), format="jpeg")


def test_a_strip_keeps_first_and_last_of_many_frames_side_by_side() -> None:
    frames = np.repeat(np.arange(0, 250, 10, dtype=np.uint8), 16 * 16 * 3).reshape(25, 16, 16, 3)
    strip = strip_of(frames)
    assert strip.num_frames == 8
    shown = picture(strip)
    assert shown.shape == (16, 8 * 16, 3)
    assert [int(shown[:, 16 * n : 16 * n + 16].mean().round()) for n in (0, 7)] == pytest.approx([0, 240], abs=3)
    assert strip_of(frames[:1]).num_frames == 1


def test_large_frames_are_shrunk() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1, 640, 640, 3), dtype=np.uint8)
    assert picture(strip_of(large)).shape == (128, 128, 3)
    assert len(strip_of(large).uri) < 20_000

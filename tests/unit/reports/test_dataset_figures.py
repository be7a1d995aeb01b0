"""Tables and histograms of a dataset."""

from __future__ import annotations

import doctest
import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from conical.datasets.checks.distributions import Distribution
from conical.reports.data_looks import dataset_figures as module
from conical.reports.data_looks.dataset_figures import (
    bin_edges,
    counts_table,
    distributions_drawing,
    distributions_table,
)


def whole(**splits: list[float]) -> Distribution:
    return Distribution(
        name="words per caption", unit="", splits={name: np.array(values, float) for name, values in splits.items()}
    )


def printed(table, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_table_summarises_all_splits() -> None:
    text = printed(distributions_table([whole(train=[1, 2, 3], test=[10])]))
    (line,) = (line for line in text.splitlines() if "words per caption" in line)
    # values 1 2 3 10: median 2.5, mean 4, 95 % of the way 3 + 0.85 * 7
    assert [cell.strip() for cell in line.strip("│ ").split("│")] == [
        "words per caption",
        "4",
        "1",
        "2.5",
        "4",
        "8.95",
        "10",
    ]


def test_counts_are_a_row_a_split() -> None:
    text = printed(counts_table({"train": {"videos": 1200}, "all": {"videos": 1300}}, title="films [x]"))
    assert "films [x]" in text
    assert "Videos" in text
    assert "1,200" in text
    assert "1,300" in text


def test_whole_numbers_are_counted_each_in_the_middle_of_a_bin() -> None:
    edges = bin_edges(whole(train=[3, 4, 6]))
    assert edges.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert np.histogram([3, 4, 6], edges)[0].tolist() == [0, 1, 1, 0, 1, 0]


def test_the_least_count_is_drawn_where_it_is_however_wide_the_range() -> None:
    edges = bin_edges(whole(train=[1, 60]))
    assert set(np.diff(edges)) == {1.0}
    assert np.histogram([1, 1, 2], edges)[0][:4].tolist() == [0, 2, 1, 0]
    edges = bin_edges(whole(train=[1, 400]))
    # an empty bin, then one that starts at 1
    assert edges[1] == 0.5
    assert len(edges) <= 42


def test_a_few_long_texts_do_not_squeeze_the_others() -> None:
    edges = bin_edges(whole(train=[*range(5, 25)] * 50 + [5000]))
    assert edges[-1] < 40
    assert len(edges) <= 42


@pytest.mark.parametrize("values", [[7], [7, 7], [0, 1000], [0.5]])
@pytest.mark.parametrize("unit", ["", "s"])
def test_every_value_is_in_a_bin_unless_it_is_beyond(values: list[float], unit: str) -> None:
    one = Distribution(name="x", unit=unit, splits={"val": np.array(values, float)})
    edges = bin_edges(one)
    assert (np.diff(edges) > 0).all()
    assert np.histogram(values, edges)[0].sum() == len(values)


@pytest.mark.parametrize("number", [1, 3])
def test_a_figure_of_any_number_of_panels_is_drawn_twice_alike(number: int) -> None:
    distributions = [whole(train=[1, 2, 2], val=[2], test=[5] * 9)] * number
    drawings = [distributions_drawing(distributions, dataset="films_$1") for _ in range(2)]
    assert drawings[0].png == drawings[1].png
    assert drawings[0].svg == drawings[1].svg
    assert Image.open(io.BytesIO(drawings[0].png)).width > 500
    assert "Medians: words per caption 5" in drawings[0].told


def test_what_lies_beyond_the_panel_is_said() -> None:
    figure = module._histograms([whole(train=[*range(5, 25)] * 50 + [5000])], "films")
    titles = {axes.get_title(place) for axes in figure.axes for place in ("left", "center")}
    assert "words per caption (1 beyond 25)" in titles


def test_the_examples_of_the_docstrings() -> None:
    outcome = doctest.testmod(module)
    assert (outcome.failed, outcome.attempted) == (0, 1)

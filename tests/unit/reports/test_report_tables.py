from __future__ import annotations

import csv
import dataclasses
import io
import re

import numpy as np
import pytest
from rich.console import Console

from conical.core.errors import ProtocolError
from conical.reports import (
    Grid,
    HubSample,
    MetricValue,
    RunRow,
    ablation_grid,
    comparisons_grid,
    csv_table,
    format_metric,
    group_rows,
    latex_table,
    markdown_table,
    published_grid,
    published_rows,
    results_csv,
    results_grid,
    rich_table,
    shared_notes,
    sweep_grid,
)
from conical.reports.grids import BOLD, headline_grid, hubs_grid
from conical.reports.groups import group_names
from conical.reports.summary import sweep_sentences
from unit.reports.report_factory import LABELS, ablation, comparison, report, row, sweep

MIXED = "mix human 0.4, A 0.4, B 0.2, captioner tiny-video-llava"


def hand_row(label: str, recall: float, mean_rank: float, **changes: object) -> RunRow:
    fields = {"run_id": f"id-{label}", "protocol": "raw", "split": "test", "num_queries": 50, "num_gallery": 50}
    metrics = {"t2v/R1": MetricValue(recall, recall - 3.5, recall + 3.6), "t2v/MeanR": MetricValue(mean_rank)}
    return RunRow(label=label, metrics=metrics, **{**fields, **changes})  # type: ignore[arg-type]


def on_terminal(grid: Grid, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(rich_table(grid, width=width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_metric_shows_its_interval_or_stands_alone() -> None:
    assert format_metric(MetricValue(41.5, 38.0, 45.1)) == "41.5 [38.0, 45.1]"
    assert format_metric(MetricValue(41.46)) == "41.5"
    assert format_metric(None) == "–"


def test_the_grid_of_two_hand_made_runs() -> None:
    tested = {"one": frozenset({"t2v/MeanR"}), "two": frozenset({"t2v/R1"})}
    grid = results_grid([hand_row(n, r, m, best_in=tested[n]) for n, r, m in (("one", 40.0, 6.0), ("two", 41.5, 7.25))])
    assert grid.title == "test, protocol raw: 50 queries, 50 videos"
    assert grid.header == ("Method", "Direction", "R@1", "R@5", "R@10", "MedR", "MeanR")
    assert grid.body == (
        ("one", "t2v", "40.0 [36.5, 43.6]", "–", "–", "–", "6.0"),
        ("one", "v2t", "–", "–", "–", "–", "–"),
        ("two", "t2v", "41.5 [38.0, 45.1]", "–", "–", "–", "7.2"),
        ("two", "v2t", "–", "–", "–", "–", "–"),
    )
    # what was found to be significantly best
    assert grid.best == {(2, 2), (0, 6)}
    assert grid.spans() == (2, 0, 2, 0)


def test_the_largest_number_is_not_bold_by_itself_and_the_note_says_what_bold_is() -> None:
    untested = results_grid([hand_row("one", 40.0, 6.0), hand_row("two", 90.0, 7.0)])
    assert untested.best == frozenset()
    assert BOLD not in untested.notes
    none_best = [hand_row(name, 40.0, 6.0, best_in=frozenset()) for name in ("one", "two")]
    assert results_grid(none_best).best == frozenset()
    assert results_grid(none_best).notes.count(BOLD) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "paired-supplement"},
            "must share one protocol, got paired-supplement, raw; make a table for each",
        ),
        ({"protocol": "raw.dsl"}, "must share one protocol, got raw, raw"),
        ({"split": "val"}, "must share one split, got test, val"),
        ({"num_gallery": 49}, "must share one num_gallery, got 49, 50"),
        ({"num_queries": 49}, "must share one num_queries, got 49, 50"),
        ({"comparable": "b" * 16}, "must share one set of queries, gallery and family settings, got , bbbb"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, object], message: str) -> None:
    rows = [hand_row("one", 40.0, 6.0), hand_row("two", 41.0, 6.0, **changes)]
    with pytest.raises(ProtocolError, match=message):
        results_grid(rows)
    with pytest.raises(ProtocolError, match=message):
        results_csv(rows)
    assert [len(group) for group in group_rows(rows)] == [1, 1]


def test_sets_of_equal_size_stand_in_tables_that_are_told_apart() -> None:
    rows = [
        hand_row("one", 40.0, 6.0, comparable="aaaaaaaa1111"),
        hand_row("two", 41.5, 6.0, comparable="bbbbbbbb2222"),
        hand_row("three", 39.0, 7.0, comparable="aaaaaaaa1111"),
    ]
    groups = group_rows(rows)
    assert [[row.label for row in group] for group in groups] == [["one", "three"], ["two"]]
    assert group_names(groups) == ("test_raw_q50_g50_aaaaaaaa", "test_raw_q50_g50_bbbbbbbb")
    assert group_names(groups[:1]) == ("test_raw_q50_g50",)
    first, second = map(results_grid, groups)
    assert first.title == "test, protocol raw: 50 queries, 50 videos, set aaaaaaaa"
    assert second.title.endswith(", set bbbbbbbb")
    assert any(note.startswith("A set is the same queries") for note in first.notes)
    assert first.notes == second.notes


def test_an_empty_table_and_a_repeated_label_are_refused() -> None:
    with pytest.raises(ProtocolError, match="needs at least one row, got none"):
        results_grid([])
    with pytest.raises(ValueError, match="labels of one table must be unique, got one more than once; name"):
        results_grid([hand_row("one", 40.0, 6.0), hand_row("one", 41.0, 6.0)])


def test_paired_supplement_ties_and_notes_are_told() -> None:
    rows = [hand_row("one", 40.0, 6.0, protocol="lab.dsl", uses_target=True, has_ties=True, note="stopped early")]
    grid = results_grid(rows)
    assert "uses the target video" in grid.title
    assert any("uses the target video" in note for note in grid.notes)
    assert grid.body[0][0] == "one †"
    assert any(note.startswith("† Some scores are tied") for note in grid.notes)
    assert "one: stopped early" in grid.notes
    plain = results_grid([hand_row("one", 40.0, 6.0)])
    assert "target" not in plain.title
    assert len(plain.notes) == 1


def grids_of_a_report() -> list[Grid]:
    data = report()
    results = [results_grid(rows) for rows in group_rows(data.rows)]
    # sizes as real ones are: three digits before the point
    wide = hand_row("CEO, human captions + supplements", 100.0, 6.0)
    metrics = {
        f"{d}/{m}": MetricValue(100.0, 87.5, 100.0) for d in ("t2v", "v2t", "v2t_any") for m in ("R1", "R5", "R10")
    }
    metrics |= {
        f"{d}/{m}": MetricValue(104.0, 87.5, 112.5) for d in ("t2v", "v2t", "v2t_any") for m in ("MedR", "MeanR")
    }
    headline = headline_grid([row for row in data.rows if row.protocol == "raw"])
    assert headline is not None
    return [*results, results_grid([dataclasses.replace(wide, metrics=metrics)]), headline]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_table_fits_its_terminal_with_its_numbers_and_words_whole(width: int) -> None:
    for grid in [*grids_of_a_report(), comparisons_grid(report().comparisons)]:
        text = on_terminal(grid, width)
        lines = text.splitlines()
        assert max(map(len, lines)) <= width
        left_out = re.search(r"Left out in \d+ columns: (.*)\.", " ".join(text.split()))
        gone = left_out.group(1).split(" and ") if left_out else []
        shown = [column for column, heading in enumerate(grid.header) if heading not in gone]
        assert {"MedR", "R@5", "Seeds", "Wins / losses"} >= set(gone)
        words = set(text.split())
        for line in grid.body:
            for column in shown:
                # an interval may stand below its number, a name on several lines
                parts = re.split(r" (?=\[)", line[column]) if column >= grid.num_keys else line[column].split()
                assert all(set(part.split()) <= words for part in parts), (line[column], width)


def test_nothing_is_left_out_in_100_columns() -> None:
    assert not any("Left out" in on_terminal(grid, 100) for grid in grids_of_a_report())


def test_notes_of_several_tables_are_said_once() -> None:
    grids = grids_of_a_report()
    notes = shared_notes(grids, width=80)
    assert len(set(notes)) == len(notes)
    assert {note for grid in grids for note in grid.notes} <= set(notes)
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(rich_table(grids[0], width=80, has_notes=False))
    assert grids[0].notes[0].split(";")[0] not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_wide_terminal_keeps_each_interval_beside_its_number() -> None:
    text = on_terminal(results_grid([row()]), 160)
    assert all(cell in text for cell in results_grid([row()]).body[0])


def test_single_captions_have_a_line_of_their_own_where_they_were_ranked() -> None:
    any_metrics = {"v2t_any/R1": MetricValue(30.0), "v2t_any/MedR": MetricValue(3.0)}
    one, two = (hand_row(label, recall, 6.0) for label, recall in (("one", 40.0), ("two", 41.5)))
    one = dataclasses.replace(one, metrics={**one.metrics, **any_metrics})
    two = dataclasses.replace(two, metrics={**two.metrics, "v2t_any/R1": MetricValue(28.0)})
    grid = results_grid([one, two])
    assert [line[1] for line in grid.body] == ["t2v", "v2t", "v2t_any"] * 2
    assert grid.body[2] == ("one", "v2t_any", "30.0", "–", "–", "3.0", "–")
    # each direction has its own best
    one, two = (
        dataclasses.replace(run, best_in=frozenset(keys))
        for run, keys in ((one, ("v2t_any/R1", "v2t_any/MedR")), (two, ("t2v/R1",)))
    )
    assert results_grid([one, two]).best == {(3, 2), (2, 2), (2, 5)}
    assert any(
        note.startswith("v2t ranks a video's captions as one group") and "v2t_any ranks all captions singly" in note
        for note in grid.notes
    )
    assert not any("v2t_any" in note for note in results_grid([hand_row("one", 40.0, 6.0)]).notes)


def test_comparisons_and_trials_keep_their_numbers_whole_on_a_terminal() -> None:
    compared = on_terminal(comparisons_grid(report().comparisons))
    assert "[+1.1, +7.4]" in compared
    assert "61 / 40" in compared
    trials = on_terminal(sweep_grid(sweep()))
    assert re.search(r"^ ?11 ", trials, re.MULTILINE)
    assert "completed" in trials


def test_terminal_markup_in_a_label_is_text() -> None:
    assert "[red]x[/red]" in on_terminal(results_grid([hand_row("[red]x[/red]", 40.0, 6.0)]))


def test_markdown_of_a_hand_made_run() -> None:
    rows = [
        hand_row("a|b <i>", 40.0, 6.0, best_in=frozenset({"t2v/MeanR"})),
        hand_row("two", 41.5, 7.0, best_in=frozenset({"t2v/R1"})),
    ]
    text = markdown_table(results_grid(rows))
    lines = text.splitlines()
    assert lines[0] == "**test, protocol raw: 50 queries, 50 videos**"
    assert lines[2] == "| Method | Direction | R@1 | R@5 | R@10 | MedR | MeanR |"
    assert lines[3] == "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[4] == r"| a\|b &lt;i> | t2v | 40.0 [36.5, 43.6] | – | – | – | **6.0** |"
    assert lines[6] == "| two | t2v | **41.5 [38.0, 45.1]** | – | – | – | 7.0 |"


def test_latex_of_a_hand_made_run() -> None:
    best = hand_row("50 % & more_†", 40.0, 6.0, best_in=frozenset({"t2v/MeanR"}))
    text = latex_table(results_grid([best, hand_row("two", 41.5, 7.0)]))
    assert r"\begin{tabular}{llrrrrr}" in text
    assert r"50 \% \& more\_$\dagger$ & t2v & 40.0 [36.5, 43.6] & -- & -- & -- & \textbf{6.0} \\" in text
    assert "\n & v2t & -- & -- & -- & -- & -- \\\\\n" in text
    assert "50 videos. Recalls in percent" in text


def test_notes_of_a_latex_caption_are_sentences() -> None:
    notes = ("partial: 49 of 50", "Is it whole?", "It is.")
    text = latex_table(Grid(title="A table", header=("x",), body=(("1",),), notes=notes))
    assert r"\caption{A table. partial: 49 of 50. Is it whole? It is.}" in text


def test_csv_for_programs_keeps_full_precision_and_the_run() -> None:
    lines = list(csv.DictReader(io.StringIO(results_csv([hand_row("a, b", 40.125, 6.0)]))))
    assert lines[0] == {
        "label": "a, b",
        "run_id": "id-a, b",
        "split": "test",
        "protocol": "raw",
        "num_queries": "50",
        "num_gallery": "50",
        "comparable": "",
        "has_ties": "False",
        "trained_commit": "",
        "note": "",
        "direction": "t2v",
        "metric": "R1",
        "value": "40.125",
        "low": "36.625",
        "high": "43.725",
    }
    assert (lines[1]["metric"], lines[1]["low"]) == ("MeanR", "")


def test_comparisons_show_sign_interval_and_verdict() -> None:
    assert csv_table(comparisons_grid([comparison()])).splitlines()[1] == (
        'CEO with supplements,"InfoNCE, human captions",test/raw/t2v/R1,CEO with supplements is better,'
        '"+4.2 [+1.1, +7.4]",61 / 40,3'
    )


def test_trials_are_sorted_best_first_and_those_without_a_value_come_last() -> None:
    grid = sweep_grid(sweep())
    values = [line[3] for line in grid.body]
    assert values[-1] == "–"
    assert [float(value) for value in values[:-1]] == sorted(map(float, values[:-1]), reverse=True)
    assert grid.best == frozenset()  # that it is better than the others was not tested
    assert grid.body[-1][:2] == ("7", "failed")


def test_published_figures_are_those_of_the_talk() -> None:
    rows = published_rows()
    assert len(rows) == 36
    ours = [row for row in rows if (row.dataset, row.method, row.backbone) == ("msrvtt", "CEO", "ViT-B/32")]
    assert [(row.direction, row.metrics["R1"], row.metrics["MeanR"]) for row in ours] == [
        ("t2v", 64.2, 3.3),
        ("v2t", 67.3, 3.1),
    ]
    assert {row.dataset for row in published_rows("msvd")} == {"msvd"}
    assert "MeanR" not in published_rows("msvd")[0].metrics
    with pytest.raises(
        ValueError, match=r"dataset must be one of msrvtt, msvd, didemo; got 'msrvt'. Did you mean 'msrvtt'"
    ):
        published_rows("msrvt")


def test_published_figures_are_labelled() -> None:
    grid = published_grid(published_rows("msvd"))
    assert grid.title == "Published, not reproduced; protocol unknown"
    assert grid.header[:5] == ("Dataset, backbone", "Method", "Extra data", "t2v R@1", "t2v R@5")
    assert grid.body[0] == ("msvd standard, ViT-B/32", "CEO", "no", "56.8", "81.8", "89.5", *("–",) * 5)
    assert grid.best == frozenset()


def test_published_figures_stand_in_one_line_a_method_with_both_directions() -> None:
    grid = published_grid(published_rows())
    assert len(grid.body) == 22
    groups = [line[0] for line, span in zip(grid.body, grid.spans(), strict=True) if span]
    assert len(groups) == len(set(groups)) == 6
    ours = next(line for line in grid.body if line[:2] == ("msrvtt 1kA, ViT-B/32", "CEO"))
    assert ours[3:] == ("64.2", "90.0", "94.3", "3.3", "67.3", "90.0", "94.5", "3.1")


def test_an_ablation_shows_what_changed_and_against_what() -> None:
    grid = ablation_grid(ablation())
    assert grid.title == (
        "Prompts and captioners, against CEO, human captions: test, protocol raw, t2v, 200 queries, 200 videos"
    )
    assert grid.body == (
        ("base: human captions only", LABELS[2], "R@1", "31.0 [28.0, 34.0]", "base", "–", "1"),
        (MIXED, LABELS[3], "R@1", "32.0 [29.0, 35.0]", "+1.0 [-1.0, +3.0]", "no significant difference", "3"),
        (MIXED, LABELS[3], "R@10", "60.0 [57.0, 63.0]", "+4.2 [+1.1, +7.4]", "better than the base", "3"),
    )
    worse = comparison(difference=-4.0, low=-7.0, high=-1.0, verdict="b is better")
    base, mixed = ablation().lines
    lost = dataclasses.replace(mixed, against_base={"R1": worse, "R10": worse})
    assert ablation_grid(dataclasses.replace(ablation(), lines=(base, lost))).body[1][5] == "worse than the base"


def test_hubness_shows_skewness_and_the_extremes() -> None:
    counts = np.array([0.0, 0, 0, 40])
    fields = {"split": "test", "protocol": "raw", "k": 10, "num_queries": 50}
    sample = HubSample(label="a", direction="t2v", counts=counts, **fields)
    # mean 10, deviations -10 (3 times), 30: third moment 6000, std 17.32^3 = 5196
    assert hubs_grid([sample]).body == (("a", "t2v", "+1.15", "40 of 50", "75.0 %"),)


def test_what_is_true_of_several_runs_is_said_once() -> None:
    partial = "partial: 49 of 50 test videos"
    notes = results_grid(
        [hand_row("one", 40.0, 6.0, note=f"{partial}; stopped early"), hand_row("two", 41.0, 6.0, note=partial)]
    ).notes
    assert notes[1:] == (f"All runs: {partial}", "one: stopped early")
    three = [hand_row(name, 40.0, 6.0, note="" if name == "c" else partial) for name in "abc"]
    assert results_grid(three).notes[1:] == (f"a; b: {partial}",)


def test_trials_that_might_as_well_have_won_are_marked_and_counted() -> None:
    tested = dataclasses.replace(sweep(), indistinguishable=(0, 5), indistinguishable_test="paired, on val")
    grid = sweep_grid(tested)
    assert sorted(int(line[0]) for line in grid.body if line[3].endswith(" ≈")) == [0, 5]
    assert grid.notes == ("≈ not significantly different from the chosen trial: paired, on val.",)
    assert sweep_sentences(tested) == (
        "Indistinguishable from trial 2: 2 of the other 10 scored trials, number 0, 5 (paired, on val).",
    )
    alone = dataclasses.replace(sweep(), indistinguishable=())
    assert sweep_sentences(alone) == ("Trial 2 is significantly better than the other 10 scored trials.",)
    assert sweep_grid(alone).notes == ("Bold: significantly better than every other trial.",)
    assert sweep_grid(alone).best == {(0, 3)}
    assert sweep_grid(tested).best == frozenset()
    lone = dataclasses.replace(sweep(1), indistinguishable=())
    assert sweep_sentences(lone) == ("Trial 0 is the only scored trial.",)
    assert sweep_grid(lone).best == frozenset()
    assert sweep_sentences(sweep()) == ()


def test_the_factory_row_is_a_valid_row() -> None:
    assert set(row().metrics) == {
        f"{d}/{m}" for d in ("t2v", "v2t", "v2t_any") for m in ("R1", "R5", "R10", "MedR", "MeanR")
    }

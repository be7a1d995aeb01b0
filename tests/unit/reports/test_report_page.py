from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from conical.metrics import MetricValue
from conical.reports import (
    ErrorBrowser,
    Hit,
    Outcome,
    QueryCase,
    ReportData,
    ReportPaths,
    RunRow,
    comparison_sentence,
    published_rows,
    summary_sentences,
    write_report,
)
from conical.reports.page import render_page
from unit.reports.report_factory import LABELS, ablation, browser, clip, comparison, report, row

SECTIONS = ("results", "sweep", "curves", "ranks", "hubs")
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what the tests ask about, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def having(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return write_report(report(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(paths: ReportPaths) -> Page:
    return Page(paths.page.read_text(encoding="utf-8"))


def bare(**changes: object) -> ReportData:
    """A report without figures, quick to write."""
    data = dataclasses.replace(report(), rows=(), sweep=None, curves=(), ranks=(), hubs=(), browser=None)
    data = dataclasses.replace(data, ablations=(), published=None)
    return dataclasses.replace(data, **changes)  # type: ignore[arg-type]


def test_nothing_outside_the_file_is_asked_for(page: Page, paths: ReportPaths) -> None:
    text = paths.page.read_text(encoding="utf-8")
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    addresses += re.findall(r'url\("?([^")]*)', text)
    assert len(addresses) > 17
    assert all(address and address.startswith(("data:", "#")) for address in addresses)
    assert not page.having("link", "iframe", "object")
    (policy,) = [meta["content"] for meta in page.having("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in str(policy)


def test_the_policy_lets_the_one_script_run_and_no_other(page: Page, paths: ReportPaths) -> None:
    (policy,) = [str(meta["content"]) for meta in page.having("meta") if "http-equiv" in meta]
    (script,) = re.findall(r"<script>(.*?)</script>", paths.page.read_text(encoding="utf-8"), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_each_clip_is_in_the_file_once_however_often_it_is_shown(page: Page, paths: ReportPaths) -> None:
    text = paths.page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == len(browser().clips) == 8
    strips = [div for div in page.having("div") if str(div.get("class")).startswith("strip")]
    assert len(strips) == 5 * 7 * 2 + 4  # a pair in two directions: target and twice three hits; one run alone
    assert all(strip["role"] == "img" and "8 frames of scene_" in str(strip["aria-label"]) for strip in strips)
    assert all("alt" in picture for picture in page.having("img"))


def test_headings_go_down_one_level_at_a_time(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_tables_have_captions_and_scopes(page: Page) -> None:
    assert len(page.having("caption")) == len(page.having("table")) == 8
    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in page.having("th"))


def test_every_column_that_names_a_line_is_a_header(tmp_path: Path) -> None:
    text = render_page(bare(rows=(row("one"),), comparisons=()), {section: () for section in SECTIONS})
    for direction in ("t2v", "v2t", "v2t_any"):
        assert f'<th scope="row">{direction}</th>' in text
    assert '<th class="name" scope="rowgroup" rowspan="3">one</th>' in text
    assert all(cell.get("class") == "value" for cell in Page(text).having("td"))


def test_the_commits_of_the_report_and_of_each_training_are_told_apart(page: Page) -> None:
    assert page.text.count("report made by commit 0f3c9d2e71aa (clean)") == 1
    assert "Report made by commit 0f3c9d2e71aa (clean)" in page.text
    assert "Tuned CEO run-tun , trained by commit 77ab03d19e52" in page.text


def test_the_form_of_the_error_browser_has_a_name(page: Page) -> None:
    assert [form["aria-label"] for form in page.having("form")] == ["Choose queries"]


def test_links_within_the_page_lead_somewhere_and_language_is_set(page: Page) -> None:
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {str(link["href"])[1:] for link in page.having("a")} <= targets
    assert page.having("html")[0]["lang"] == "en"
    assert page.having("a")[0]["class"] == "skip"


def test_the_browser_says_in_words_what_was_lost_and_what_is_correct(page: Page) -> None:
    # t2v and v2t alike: three of five ranks rose; found among the first three by both, one or none
    assert page.text.count("lost: rank 1 → 40") == 2
    assert page.text.count("gained: rank 30 → 1") == 2
    assert page.text.count("✓ correct") == 2 * 7
    assert page.text.count("✗ wrong") == 2 * (5 * 6 - 7) + 3
    assert "Of 200 queries, 70 lost in rank, 90 gained, 40 kept it" in page.text
    assert "and 2 more" in page.text


def test_a_query_of_video_to_text_shows_the_captions_it_found(page: Page) -> None:
    assert "“hit 1 of scene 4”" in page.text
    assert "scene_00004: “nothing moves, v2t”" in page.text


def test_one_query_of_each_list_is_open_before_any_click(page: Page) -> None:
    cases = [details for details in page.having("details") if str(details.get("class")).startswith("case")]
    assert [("open" in details) for details in cases] == [True, *[False] * 4] * 2 + [True]


def test_published_figures_are_labelled_and_in_a_table_of_their_own(page: Page) -> None:
    assert "Published, not reproduced; protocol unknown" in page.text


@pytest.mark.parametrize("dataset", ["scenes", "msrvtt"])
def test_published_figures_of_other_datasets_are_folded_away(dataset: str) -> None:
    data = dataclasses.replace(report(), dataset=dataset, published=published_rows())
    html = render_page(data, {section: () for section in SECTIONS})
    published = html[html.index('<section id="published">') :].partition("</section>")[0]
    open_part, _, folded = published.partition("<details>")
    assert published.count("<details>") == 1
    assert ("msrvtt 1kA" in open_part) == (dataset == "msrvtt")
    assert ("msrvtt 1kA" in folded) == (dataset != "msrvtt")
    assert "msvd" in folded
    assert "<details open" not in published


def test_the_summary_leads_with_the_verdict_and_the_figure_of_test(tmp_path: Path) -> None:
    data = dataclasses.replace(report(), verdict="Nothing differs <here>.")
    html = write_report(data, tmp_path).page.read_text(encoding="utf-8")
    summary = html[html.index('<section id="summary">') :].partition("</section>")[0]
    results = html[html.index('<section id="results">') :].partition("</section>")[0]
    verdict, figure, sentence = (
        summary.index(part) for part in ('<p class="lead">Nothing differs &lt;here&gt;.', "<figure>", "Best by val")
    )
    assert verdict < figure < sentence
    assert summary.count("<figure>") == 1
    assert 'alt="R@1 on test, protocol raw' in summary
    assert 'alt="R@1 on test, protocol raw' not in results


def test_each_note_of_the_results_is_on_the_page_once() -> None:
    html = render_page(report(), {section: () for section in SECTIONS})
    assert html.count("Recalls in percent; MedR and MeanR") == 1
    assert html.count("v2t ranks a video") == 1


def test_provenance_is_on_the_page(page: Page) -> None:
    for part in ("0f3c9d2e71aa (clean)", "6e340b9cffb37a98", "python jobs/report.py", "tau_va = 12.5", "run-tun"):
        assert part in page.text


def test_texts_are_escaped_everywhere(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script><img src=http://example.org>'
    shown = dataclasses.replace(clip(0), captions=(evil,), supplements=((evil, evil),), video_id=evil)
    hit = Hit(video_id=evil, score=0.1, is_correct=False, text=evil)
    query = QueryCase(text=evil, video_id=evil, outcome=Outcome(label=evil, rank=2, hits=(hit,)))
    view = dataclasses.replace(browser().views[2], label=evil, cases=(query,))
    data = bare(
        title=evil,
        rows=(row(evil, note=evil),),
        browser=ErrorBrowser(views=(view,), clips={evil: shown}),
        ablations=(dataclasses.replace(ablation(), split=evil),),
        comparisons=(comparison(label_a=evil),),
        notes=(evil,),
        provenance=dataclasses.replace(report().provenance, config_toml=evil, hashes={evil: evil}, command=evil),
    )
    page = Page(render_page(data, {section: () for section in SECTIONS}))
    assert len(page.having("script")) == 1
    assert not page.having("img")
    assert page.text.count('<script>alert("x")</script>') >= 15


def test_empty_parts_are_left_out(tmp_path: Path) -> None:
    page = Page(write_report(bare(comparisons=()), tmp_path).page.read_text(encoding="utf-8"))
    assert not page.having("table", "figure", "details", "form")
    assert "Sweep" not in page.text


def test_files_of_every_kind_are_written(paths: ReportPaths) -> None:
    folder = paths.page.parent
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {str(path.relative_to(folder)) for path in (paths.page, *paths.tables, *paths.figures)}
    assert {"tables/test_raw_q200_g200.md", "tables/test_paired-supplement_q200_g200.tex"} <= written
    assert {"tables/trials.csv", "tables/comparisons.md", "tables/published_not_reproduced.csv"} <= written
    assert {"tables/ablation_1_test_raw.tex", "tables/hubness.md", "figures/hubs_test_raw_k10.svg"} <= written
    assert {"figures/temperatures.svg", "figures/prompt_mix.png"} <= written
    assert all(path.stat().st_size > 0 for path in (*paths.tables, *paths.figures))


def test_a_refused_report_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="labels of one table must be unique"):
        write_report(bare(rows=(row("one"), row("one"))), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_summary_chooses_on_val_and_reads_test_off() -> None:
    rows = (
        row("a", split="val", recall=40.0),
        row("b", split="val", recall=30.0),
        row("a", recall=20.0, num_queries=100, num_gallery=50),
        row("b", recall=35.0, num_queries=100, num_gallery=50),
        row("b", split="val", recall=90.0, protocol="paired-supplement"),
    )
    assert summary_sentences(bare(rows=rows, comparisons=())) == (
        "Best by val (protocol raw): a, t2v R@1 40.0 [36.5, 43.5].",
        "Its test t2v R@1 is 20.0 [16.5, 23.5] over 100 queries and 50 videos: 10.0 times chance.",
    )


def test_the_best_run_is_the_best_by_the_metric_that_selects() -> None:
    def ranked(label: str, split: str, median: float) -> RunRow:
        return dataclasses.replace(row(label, split=split), metrics={"v2t/MedR": MetricValue(value=median)})

    rows = (ranked("a", "val", 9.0), ranked("b", "val", 2.0), ranked("b", "test", 3.0))
    data = dataclasses.replace(bare(rows=rows, comparisons=()), select_by="val/raw/v2t/MedR")
    assert summary_sentences(data) == (
        "Best by val (protocol raw): b, v2t MedR 2.0.",
        "Its test v2t MedR is 3.0 over 200 queries and 200 videos.",
    )


def test_the_best_run_is_chosen_among_runs_of_the_same_queries() -> None:
    rows = (
        row("a", split="val", recall=40.0, comparable="aaaaaaaa1"),
        row("b", split="val", recall=60.0, comparable="bbbbbbbb2"),
        row("c", split="val", recall=30.0, comparable="aaaaaaaa1"),
    )
    assert summary_sentences(bare(rows=rows, comparisons=())) == (
        "Best by val (protocol raw, set aaaaaaaa): a, t2v R@1 40.0 [36.5, 43.5].",
        "It was not scored on test.",
        "Best by val (protocol raw, set bbbbbbbb): b, t2v R@1 60.0 [56.5, 63.5].",
        "It was not scored on test.",
    )


def test_two_sets_of_one_size_do_not_overwrite_each_others_files(tmp_path: Path) -> None:
    rows = tuple(row(label, comparable=label * 8) for label in "ab")
    paths = write_report(bare(rows=rows, comparisons=()), tmp_path)
    assert {path.name for path in paths.tables if path.suffix == ".md"} == {
        "test_raw_q200_g200_aaaaaaaa.md",
        "test_raw_q200_g200_bbbbbbbb.md",
    }


def test_the_summary_says_what_was_not_scored() -> None:
    assert summary_sentences(bare(rows=(row("a"),), comparisons=())) == (
        "No run was scored on val, so no run is called the best.",
    )
    on_val = bare(rows=(row("a", split="val"),), comparisons=())
    assert summary_sentences(on_val)[1] == "It was not scored on test."


def test_a_difference_whose_interval_holds_zero_is_not_called_one() -> None:
    flat = comparison(difference=0.5, low=-2.6, high=3.7, verdict="no significant difference", seed_differences=(0.5,))
    assert comparison_sentence(flat) == (
        f"No significant difference between {LABELS[3]} and {LABELS[1]} (test/raw/t2v/R1: +0.5 [-2.6, +3.7], "
        "1 seed: another training is not covered)."
    )
    assert comparison_sentence(comparison()) == (
        f"{LABELS[3]} is better than {LABELS[1]} (test/raw/t2v/R1: +4.2 [+1.1, +7.4], 3 seeds; "
        f"{LABELS[3]} minus {LABELS[1]})."
    )
    worse = comparison(difference=-4.0, low=-7.0, high=-1.0, verdict="b is better")
    assert comparison_sentence(worse).startswith(f"{LABELS[1]} is better than {LABELS[3]} (")

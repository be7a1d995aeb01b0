from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from conical.reports import ReportData, ReportPaths, comparison_sentence, summary_sentences, write_report
from unit.reports.report_factory import LABELS, case, comparison, report, row

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
    data = dataclasses.replace(report(), rows=(), sweep=None, curves=(), ranks=(), cases=(), published=None)
    return dataclasses.replace(data, **changes)  # type: ignore[arg-type]


def test_nothing_outside_the_file_is_asked_for(page: Page, paths: ReportPaths) -> None:
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert addresses
    assert all(address and address.startswith(("data:", "#")) for address in addresses)
    assert not page.having("script", "link", "iframe", "object")
    assert "url(" not in paths.page.read_text(encoding="utf-8")
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.having("meta"))


def test_every_picture_has_an_alternative_and_every_strip_is_named(page: Page) -> None:
    pictures = page.having("img")
    assert len(pictures) == 7 + 10 * 10  # figures; three cases of three hits, one target that was not among them
    assert all("alt" in picture for picture in pictures)
    strips = [div for div in page.having("div") if div.get("class") == "strip"]
    assert len(strips) == 10
    assert all(strip["role"] == "img" and "10 frames of scene_" in str(strip["aria-label"]) for strip in strips)


def test_headings_go_down_one_level_at_a_time(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_tables_have_captions_and_scopes(page: Page) -> None:
    assert len(page.having("caption")) == len(page.having("table")) == 6
    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in page.having("th"))


def test_links_within_the_page_lead_somewhere_and_language_is_set(page: Page) -> None:
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {str(link["href"])[1:] for link in page.having("a")} <= targets
    assert page.having("html")[0]["lang"] == "en"
    assert page.having("a")[0]["class"] == "skip"


def test_the_correct_hit_is_marked_in_words(page: Page) -> None:
    assert page.text.count("✓ correct") == 2
    assert page.text.count("not the described video") == 7
    assert "the described video, rank 17.5" in page.text


def test_published_figures_are_labelled_and_in_a_table_of_their_own(page: Page) -> None:
    assert "Published, not reproduced; protocol unknown" in page.text


def test_provenance_is_on_the_page(page: Page) -> None:
    for part in ("0f3c9d2e71aa (clean)", "6e340b9cffb37a98", "python jobs/report.py", "tau_va = 12.5", "run-tun"):
        assert part in page.text


def test_texts_are_escaped_everywhere(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script><img src=http://example.org>'
    hit = dataclasses.replace(case(evil, 1, 0).hits[0], captions=(evil,), supplements=(evil,), video_id=evil)
    data = bare(
        title=evil,
        rows=(row(evil, note=evil),),
        cases=(dataclasses.replace(case(evil, 2, 0), hits=(hit,)),),
        comparisons=(comparison(label_a=evil),),
        notes=(evil,),
        provenance=dataclasses.replace(report().provenance, config_toml=evil, hashes={evil: evil}, command=evil),
    )
    page = Page(write_report(data, tmp_path).page.read_text(encoding="utf-8"))
    assert not page.having("script")
    assert all(str(picture["src"]).startswith("data:") for picture in page.having("img"))
    assert page.text.count('<script>alert("x")</script>') >= 10


def test_empty_parts_are_left_out(tmp_path: Path) -> None:
    page = Page(write_report(bare(comparisons=()), tmp_path).page.read_text(encoding="utf-8"))
    assert not page.having("table", "figure", "article")
    assert "Sweep" not in page.text


def test_files_of_every_kind_are_written(paths: ReportPaths) -> None:
    folder = paths.page.parent
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {str(path.relative_to(folder)) for path in (paths.page, *paths.tables, *paths.figures)}
    assert {"tables/test_raw_q200_g200.md", "tables/test_paired-supplement_q200_g200.tex"} <= written
    assert {"tables/trials.csv", "tables/comparisons.md", "tables/published_not_reproduced.csv"} <= written
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


def test_the_summary_says_what_was_not_scored() -> None:
    assert summary_sentences(bare(rows=(row("a"),), comparisons=())) == (
        "No run was scored on val, so no run is called the best.",
    )
    on_val = bare(rows=(row("a", split="val"),), comparisons=())
    assert summary_sentences(on_val)[1] == "It was not scored on test."


def test_a_difference_whose_interval_holds_zero_is_not_called_one() -> None:
    flat = comparison(difference=0.5, low=-2.6, high=3.7, verdict="no significant difference", num_seeds=1)
    assert comparison_sentence(flat) == (
        f"No significant difference between {LABELS[3]} and {LABELS[1]} (test/raw/t2v/R1: +0.5 [-2.6, +3.7], 1 seed)."
    )
    assert comparison_sentence(comparison()) == (
        f"{LABELS[3]} is better than {LABELS[1]} (test/raw/t2v/R1: +4.2 [+1.1, +7.4], 3 seeds; "
        f"{LABELS[3]} minus {LABELS[1]})."
    )
    worse = comparison(difference=-4.0, low=-7.0, high=-1.0, verdict="b is better")
    assert comparison_sentence(worse).startswith(f"{LABELS[1]} is better than {LABELS[3]} (")


def run_browser(browser: str, *arguments: str, folder: Path) -> str:
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars")
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
    command = [browser, *flags, *quiet, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_page_without_scrolling_sideways(paths: ReportPaths, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine: install it to see the page in a real browser")
    # a window cannot be narrower than some 500 px, a frame can; the frame's own page runs no script
    text = paths.page.read_text(encoding="utf-8")
    frame = f'<iframe id="frame" style="width: {width}px; height: 900px; border: 0" srcdoc="{escape(text)}"></iframe>'
    measure = (
        "const root = frame.contentDocument.documentElement; document.title = [root.clientWidth, root.scrollWidth]"
    )
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(f"<title></title>{frame}<script>onload = () => {{ {measure} }}</script>", encoding="utf-8")
    assert f"<title>{width},{width}</title>" in run_browser(browser, "--dump-dom", wrapper.as_uri(), folder=tmp_path)
    picture = tmp_path / "page.png"
    run_browser(browser, f"--screenshot={picture}", f"--window-size={width},900", paths.page.as_uri(), folder=tmp_path)
    assert picture.stat().st_size > 10_000

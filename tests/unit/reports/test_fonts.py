"""Letters that the house's font has not: found in any font of the machine, older or newer than matplotlib's list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from conical.reports.glyphs import HOUSE_FAMILY, families_for
from conical.reports.plotting import blank, render

PRIVATE = "\U000f0123"  # for private use: no font of any machine has it
FAMILY = "Conical Test Sans"


def write_font(path: Path, characters: str) -> None:
    """A font in which each of the characters is a full square."""
    pen = TTGlyphPen(None)
    for number, corner in enumerate(((100, 0), (100, 700), (900, 700), (900, 0))):
        (pen.lineTo if number else pen.moveTo)(corner)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"g{ord(character):X}" for character in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(character): name for character, name in zip(characters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": FAMILY, "styleName": "Regular", "psName": "ConicalTestSans"})
    font.setupOS2()
    font.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    font.save(path)


@pytest.fixture
def fonts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that the machine is said to have; matplotlib's list is put back afterwards."""
    found: list[str] = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: found)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    return found


def test_a_font_installed_after_the_list_was_made_is_used(fonts: list[str], tmp_path: Path) -> None:
    assert families_for(f"a {PRIVATE}") == ((HOUSE_FAMILY,), PRIVATE)
    write_font(tmp_path / "new.ttf", PRIVATE)
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts += [str(tmp_path / "broken.ttf"), str(tmp_path / "gone.ttf"), str(tmp_path / "new.ttf")]
    assert families_for(f"a {PRIVATE}\u0378") == ((HOUSE_FAMILY, FAMILY), "\u0378")


def test_a_font_of_the_list_whose_file_has_gone_is_passed_over(fonts: list[str], tmp_path: Path) -> None:
    write_font(tmp_path / "old.ttf", PRIVATE)
    fonts.append(str(tmp_path / "old.ttf"))
    assert families_for(PRIVATE)[1] == ""
    (tmp_path / "old.ttf").unlink()
    font_manager._get_font.cache_clear()  # type: ignore[attr-defined]  # as in a new process
    assert families_for(PRIVATE) == ((HOUSE_FAMILY,), PRIVATE)


def test_nothing_is_searched_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: pytest.fail("the machine was searched"))
    assert families_for("a dog runs") == ((HOUSE_FAMILY,), "")


def test_every_figure_draws_the_letters_of_its_labels(fonts: list[str], tmp_path: Path) -> None:
    def draw() -> Figure:
        figure = blank(3, 2)
        panel = figure.subplots()
        panel.set_yticks([0, 1], [f"run {PRIVATE}", "run"])
        return figure

    with pytest.warns(UserWarning, match="missing from font"):
        without = render(name="x", title="x", told="x", draw=draw)
    write_font(tmp_path / "new.ttf", PRIVATE)
    fonts.append(str(tmp_path / "new.ttf"))
    drawn = render(name="x", title="x", told="x", draw=draw)
    assert drawn.png != without.png
    assert b"ConicalTestSans" in drawn.svg


DRAW = f"""
import sys
from conical.reports.data_looks.contact_sheet import draw_contact_sheet
from unit.reports.test_contact_sheet import sheet
drawing, missing = draw_contact_sheet(sheet("a " + {PRIVATE!r}))
sys.stdout.write(f"{{len(missing)}} {{b'ConicalTestSans' in drawing.svg}}")
"""


def test_a_contact_sheet_finds_a_font_that_was_installed_after_the_cache_was_written(tmp_path: Path) -> None:
    """The whole way: one process writes matplotlib's cache, a font arrives in the user's folder, another one draws."""
    environment = {
        **os.environ,
        "MPLCONFIGDIR": str(tmp_path / "cache"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-c", DRAW]
    before = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert before.stdout == "1 False"
    assert list((tmp_path / "cache").glob("fontlist*.json"))
    write_font(tmp_path / "data" / "fonts" / "new.ttf", PRIVATE)
    after = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert after.stdout == "0 True"

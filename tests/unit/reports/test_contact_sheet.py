"""The contact sheet: what stands on it, and texts that no font can draw."""

from __future__ import annotations

import io
import unicodedata

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len

from conical.core.records import SampledFrames
from conical.reports.data_looks import contact_sheet as module
from conical.reports.data_looks.contact_sheet import ContactSheet, draw_contact_sheet
from conical.reports.glyphs import HOUSE_FAMILY, drawable, families_for


def sheet(*captions: str, num_frames: int = 3, colour: tuple[int, int, int] = (200, 30, 30), **fields) -> ContactSheet:
    frames = np.empty((num_frames, 32, 48, 3), np.uint8)
    frames[:] = colour
    indices = tuple(range(0, 10 * num_frames, 10))
    sampled = SampledFrames(
        frames=frames, frame_indices=indices, pts_seconds=tuple(i / 25 for i in indices), decoder="pyav"
    )
    return ContactSheet(
        **{"video_id": "video7", "facts": ("split test",), "frames": sampled, "texts": {"Captions": captions}} | fields
    )


def written(content: ContactSheet) -> list[str]:
    """All texts of the figure, in the order they are written."""
    families, missing = families_for("")
    figure = module._draw(
        content.frames, module._above(content), module._below(content), pen=module._Pen(families, missing)
    )
    return [text.get_text() for text in figure.texts]


def test_frames_carry_index_and_time_and_texts_their_count() -> None:
    texts = written(sheet("a dog", "a cat", texts={"Captions": ("a dog", "a cat"), "Supplements": ("B: a dog runs",)}))
    assert texts == [
        *("video7", "split test"),
        *("frame 0, 0.00 s", "frame 10, 0.40 s", "frame 20, 0.80 s"),
        *("Captions (2)", "a dog", "a cat"),
        *("Supplements (1)", "B: a dog runs"),
    ]


def test_many_captions_are_counted_not_shown() -> None:
    texts = written(sheet(*(f"caption {number}" for number in range(20))))
    assert "Captions (20)" in texts
    assert "caption 7" in texts
    assert "caption 8" not in texts
    assert texts[-1] == "… 12 more"


def test_a_video_without_captions_says_so() -> None:
    assert written(sheet())[-1] == "Captions (0)"


@pytest.mark.parametrize("word", ["word ", "文字", "x"])
def test_long_texts_are_wrapped_by_their_width_without_losing_a_letter(word: str) -> None:
    text = (word * 200).strip()
    lines = module._wrapped(text, indent="   ")
    assert len(lines) > 1
    assert max(cell_len(line) for line in lines) <= module._CELLS_A_LINE
    assert "".join(line.strip().replace(" ", "") for line in lines) == text.replace(" ", "")


@pytest.mark.parametrize("num_frames", [1, 2, 5, 12])
def test_the_picture_holds_all_frames_whatever_their_number(num_frames: int) -> None:
    drawing, missing = draw_contact_sheet(sheet("a dog", num_frames=num_frames))
    picture = np.asarray(Image.open(io.BytesIO(drawing.png)).convert("RGB")).astype(int)
    assert missing == ""
    assert picture.shape[1] == 1500
    reds = (abs(picture - (200, 30, 30)).sum(axis=-1) < 12).sum()
    assert reds == pytest.approx(num_frames * _cell_pixels(num_frames), rel=0.02)


def _cell_pixels(num_frames: int) -> float:
    columns = min(5, num_frames)
    width = min(3.0, (10 - 0.5 - (columns - 1) * 0.08) / columns)
    return width * 150 * width * 150 * 32 / 48


def test_letters_of_several_scripts_are_drawn() -> None:
    assert families_for("Größe, Ωμέγα, Собака, x$y_1 [b] <i>") == ((HOUSE_FAMILY,), "")


def test_what_no_font_has_is_named_and_drawn_as_a_box() -> None:
    private = "\u0378"  # unassigned
    families, missing = families_for(f"a {private} dog {private}\u200d")
    assert missing == private
    assert families == (HOUSE_FAMILY,)
    assert drawable(f"a {private}", missing) == "a □"
    assert draw_contact_sheet(sheet(f"a {private}"))[1] == private


def test_another_font_of_the_machine_helps_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fonts that ship with matplotlib stand for those of a machine."""
    from matplotlib import font_manager

    known = font_manager.get_font(font_manager.findfont(HOUSE_FAMILY)).get_charmap()
    entries = [entry for entry in font_manager.fontManager.ttflist if entry.name == "STIXGeneral"]
    helper = font_manager.get_font(entries[0].fname).get_charmap()
    character = next(chr(code) for code in helper if code not in known and unicodedata.category(chr(code)) == "So")
    house = [entry for entry in font_manager.fontManager.ttflist if entry.name == HOUSE_FAMILY]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", house + entries)
    assert families_for(f"a {character}") == ((HOUSE_FAMILY, "STIXGeneral"), "")
    drawing, missing = draw_contact_sheet(sheet(f"a {character}", video_id=character))
    assert missing == ""
    assert drawing.png[:4] == b"\x89PNG"


def test_signs_of_mathematics_and_markup_are_letters() -> None:
    drawing, _ = draw_contact_sheet(sheet("costs $5 or $6 [bold]x[/] <b>"))
    assert drawing.title == "video7"

"""One video on one picture: its frames with index and time, and what is written about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from conical.core.records import SampledFrames
from conical.reports.glyphs import drawable, families_for
from conical.reports.plotting import Drawing, render

SHOWN_TEXTS = 8
# inches
_WIDTH, _MARGIN, _GAP = 10.0, 0.25, 0.08
_LABEL = 0.26  # below a frame
_MAX_FRAME = 3.0  # two frames need not fill the page
_MAX_COLUMNS = 5
_CELLS_A_LINE = 118  # of 9 points in the house's font


@dataclass(frozen=True, kw_only=True)
class ContactSheet:
    """What a sheet shows.

    Args:
        facts: short sentences, such as `split test`.
        frames: with indices and times.
        texts: heading to the texts below it; of each the first `SHOWN_TEXTS` are shown, the rest is counted.
    """

    video_id: str
    facts: tuple[str, ...]
    frames: SampledFrames
    texts: dict[str, tuple[str, ...]]


def draw_contact_sheet(sheet: ContactSheet) -> tuple[Drawing, str]:
    """Draw a sheet.

    Returns:
        The drawing, and the characters that no installed font has; a box stands for each.
    """
    above, below = _above(sheet), _below(sheet)
    families, missing = families_for("".join(line.text for line in (*above, *below)))
    drawing = render(
        name="contact_sheet",
        title=sheet.video_id,
        told=f"{len(sheet.frames.frame_indices)} frames of {sheet.video_id} with their texts.",
        draw=lambda: _draw(sheet.frames, above, below, pen=_Pen(families, missing)),
    )
    return drawing, missing


@dataclass(frozen=True)
class _Line:
    """Text that fits on a line; `height` in inches, what is left above it included."""

    text: str
    height: float = 0.18
    size: float = 9
    is_bold: bool = False


@dataclass(frozen=True)
class _Pen:
    """Writes on a figure, in inches from its top left corner."""

    families: tuple[str, ...]
    missing: str

    def write(self, figure: Figure, text: str, at: tuple[float, float], *, size: float, is_bold: bool = False) -> None:
        width, height = figure.get_size_inches()
        # other families often have no bold, and say so on the terminal
        can_be_bold = is_bold and families_for(text)[0] == self.families[:1]
        figure.text(
            at[0] / width,
            1 - at[1] / height,
            drawable(text, self.missing),
            size=size,
            weight="bold" if can_be_bold else "normal",
            family=self.families[0] if can_be_bold else list(self.families),
        )


def _above(sheet: ContactSheet) -> list[_Line]:
    facts = _wrapped("  ·  ".join(sheet.facts), indent="")
    return [
        _Line(sheet.video_id, 0.2, 13, is_bold=True),
        *(_Line(line, 0.24 - 0.06 * (n > 0)) for n, line in enumerate(facts)),
    ]


def _below(sheet: ContactSheet) -> list[_Line]:
    lines = []
    for heading, texts in sheet.texts.items():
        lines.append(_Line(f"{heading} ({len(texts):,})", 0.32, is_bold=True))
        for text in texts[:SHOWN_TEXTS]:
            lines += [_Line(line) for line in _wrapped(text, indent="   ")]
        if len(texts) > SHOWN_TEXTS:
            lines.append(_Line(f"… {len(texts) - SHOWN_TEXTS:,} more"))
    return lines


def _wrapped(text: str, *, indent: str) -> list[str]:
    """Lines by width on a screen, where East Asian characters are twice as wide."""
    width = _CELLS_A_LINE - cell_len(indent)
    lines = Text(" ".join(text.split())).wrap(Console(width=width), width)
    return [(indent if number else "") + line.plain.rstrip() for number, line in enumerate(lines)] or [""]


def _draw(frames: SampledFrames, above: Sequence[_Line], below: Sequence[_Line], *, pen: _Pen) -> Figure:
    num_frames, height_px, width_px = frames.frames.shape[:3]
    columns = min(_MAX_COLUMNS, num_frames)
    width = min(_MAX_FRAME, (_WIDTH - 2 * _MARGIN - (columns - 1) * _GAP) / columns)
    height = width * height_px / width_px
    block = -(-num_frames // columns) * (height + _LABEL)
    total = 2 * _MARGIN + block + sum(line.height for line in (*above, *below)) + _GAP
    figure = Figure(figsize=(_WIDTH, total))
    y = _write_lines(figure, above, _MARGIN, pen) + _GAP
    for number in range(num_frames):
        row, column = divmod(number, columns)
        left, top = _MARGIN + column * (width + _GAP), y + row * (height + _LABEL)
        axes = figure.add_axes((left / _WIDTH, 1 - (top + height) / total, width / _WIDTH, height / total))
        axes.imshow(frames.frames[number], aspect="auto")
        axes.set_axis_off()
        label = f"frame {frames.frame_indices[number]}, {frames.pts_seconds[number]:.2f} s"
        pen.write(figure, label, (left, top + height + 0.15), size=8)
    _write_lines(figure, below, y + block, pen)
    return figure


def _write_lines(figure: Figure, lines: Sequence[_Line], y: float, pen: _Pen) -> float:
    """Returns where the last one ends."""
    for line in lines:
        y += line.height
        pen.write(figure, line.text, (_MARGIN, y - 0.03), size=line.size, is_bold=line.is_bold)
    return y

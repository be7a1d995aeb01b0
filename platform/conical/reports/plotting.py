"""How every figure of a report looks and is written: one style, no pyplot, the same bytes for the same data."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from conical.reports.glyphs import HOUSE_FAMILY, families_for

# Okabe and Ito's palette, told apart under every common colour blindness; its yellow is left out (pale on white)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {
    "font.family": HOUSE_FAMILY,  # text has the same width everywhere
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a dollar sign in a run's name is a dollar sign
    "svg.fonttype": "path",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """One finished figure.

    Args:
        name: file name without suffix.
        title: heading in the report.
        told: what it shows in words, for those who do not see it too.
        png: for slides, 150 dots an inch.
    """

    name: str
    title: str
    told: str
    svg: bytes
    png: bytes

    def __repr__(self) -> str:
        return f"Drawing({self.name!r}, svg={len(self.svg)} bytes, png={len(self.png)} bytes)"


def render(*, name: str, title: str, told: str, draw: Callable[[], Figure]) -> Drawing:
    """Draw in the house style and keep the bytes.

    Args:
        name: file name without suffix.
        title: heading in the report.
        told: one or two sentences with the figures that matter.
        draw: makes the figure; called with the style in force.

    Returns:
        The figure as SVG and PNG.
    """
    # the salt makes SVG ids a function of the figure, not of the moment
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = draw()
        families, _ = families_for("".join(text.get_text() for text in figure.findobj(Text)))
    # drawn again where a label needs letters that the house's font has not
    with mpl.rc_context({**_STYLE, "font.family": list(families), "svg.hashsalt": name}):
        if len(families) > 1:
            figure = draw()
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Drawing(name=name, title=title, told=told, svg=svg.getvalue(), png=png.getvalue())


def blank(width: float, height: float) -> Figure:
    """An empty figure of the given inches."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def headline(figure: Figure, text: str) -> None:
    """One title over all panels, where reading starts."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, weight="bold")


def legend_below(figure: Figure) -> None:
    """One entry per run, though every panel draws it."""
    entries = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
    handles = {text: handle for panel in entries for handle, text in panel}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)


def short(label: str, *, limit: int = 34) -> str:
    """The label, cut with an ellipsis where it would crowd out the plot."""
    return label if len(label) <= limit else label[: limit - 1].rstrip() + "…"

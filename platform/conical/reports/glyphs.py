"""Which fonts draw a text, and what none of them can draw."""

from __future__ import annotations

import unicodedata

from matplotlib import font_manager

HOUSE_FAMILY = "DejaVu Sans"  # ships with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew, symbols, no East Asian
REPLACEMENT = "□"
_LAST_RESORT = "Last Resort"  # has every character, as a box with the name of its block


def families_for(text: str) -> tuple[tuple[str, ...], str]:
    """Font families that draw a text together, and the characters that no installed font has.

    matplotlib keeps a list of fonts per user and does not notice one that was installed later; so where a character is
    missing, the machine is searched for fonts that are not in that list.

    Args:
        text: any; marks without a picture of their own, such as joiners, are never missed.

    Returns:
        The house's family first, then others of this machine as far as they are needed; and what is missing, each
        character once, in order.
    """
    families, missing = _cover(text)
    if missing and _take_newer_fonts(missing):
        families, missing = _cover(text)
    return families, missing


def _cover(text: str) -> tuple[tuple[str, ...], str]:
    """As `families_for`, of the fonts in matplotlib's list."""
    families = [HOUSE_FAMILY]
    missing = _missing(text, font_manager.findfont(HOUSE_FAMILY))
    for entry in font_manager.fontManager.ttflist:
        if not missing:
            break
        if entry.name in families or entry.name.startswith(_LAST_RESORT):
            continue
        still = _missing(missing, entry.fname)
        if len(still) < len(missing):
            families.append(entry.name)
            missing = still
    return tuple(families), missing


def _take_newer_fonts(missing: str) -> bool:
    """Add fonts of the machine that have some of the characters to matplotlib's list; returns whether there were any.

    Where they are is what fontconfig (`fc-list`) and the usual folders say.
    """
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    newer = [path for path in sorted(font_manager.findSystemFonts()) if path not in known]
    useful = [path for path in newer if len(_missing(missing, path)) < len(missing)]
    for path in useful:
        font_manager.fontManager.addfont(path)
    return bool(useful)


def drawable(text: str, missing: str) -> str:
    """The text with a box for each character that is missing."""
    return text.translate({ord(character): REPLACEMENT for character in missing})


def _missing(text: str, path: str) -> str:
    """The characters without a picture in a font, each once, in order."""
    distinct = dict.fromkeys(text)
    try:
        known = font_manager.get_font(path).get_charmap()
    # a font of bitmaps, such as colour emoji, or a file that is broken or gone: it can draw none of them here
    except (RuntimeError, OSError):
        return "".join(distinct)
    return "".join(c for c in distinct if ord(c) not in known and unicodedata.category(c) not in ("Cc", "Cf", "Mn"))

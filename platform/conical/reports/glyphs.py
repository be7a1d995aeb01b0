"""Which fonts draw a text, and what none of them can draw."""

from __future__ import annotations

import unicodedata

from matplotlib import font_manager

HOUSE_FAMILY = "DejaVu Sans"  # ships with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew, symbols, no East Asian
REPLACEMENT = "□"
_LAST_RESORT = "Last Resort"  # has every character, as a box with the name of its block


def families_for(text: str) -> tuple[tuple[str, ...], str]:
    """Font families that draw a text together, and the characters that no installed font has.

    Args:
        text: any; marks without a picture of their own, such as joiners, are never missed.

    Returns:
        The house's family first, then others of this machine as far as they are needed; and what is missing, each
        character once, in order.
    """
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


def drawable(text: str, missing: str) -> str:
    """The text with a box for each character that is missing."""
    return text.translate({ord(character): REPLACEMENT for character in missing})


def _missing(text: str, path: str) -> str:
    try:
        known = font_manager.get_font(path).get_charmap()
    except RuntimeError:  # a font of bitmaps, such as colour emoji: it can draw none of them here
        return text
    distinct = dict.fromkeys(text)
    return "".join(c for c in distinct if ord(c) not in known and unicodedata.category(c) not in ("Cc", "Cf", "Mn"))

"""The protocols by name; one from outside is named as `package.module:NAME`."""

from __future__ import annotations

from conical.core.registry import resolve_row
from conical.engine.protocols.captioned_gallery import CAPTIONED_GALLERY
from conical.engine.protocols.paired_supplement import PAIRED_SUPPLEMENT
from conical.engine.protocols.protocol import Protocol
from conical.engine.protocols.raw import RAW

PROTOCOLS: dict[str, Protocol] = {
    "raw": RAW,
    "captioned-gallery": CAPTIONED_GALLERY,
    "paired-supplement": PAIRED_SUPPLEMENT,
}


def find_protocol(word: str, *, what: str = "protocol") -> Protocol:
    """The row called `word`, or the `Protocol` at `package.module:NAME`.

    Args:
        word: a key of `PROTOCOLS`, or an import path with a colon.
        what: what messages call the word.

    Raises:
        ValueError: there is none.
    """
    return resolve_row(what, word, PROTOCOLS, Protocol)

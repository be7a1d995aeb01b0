"""What people call the splits."""

from __future__ import annotations

_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validate", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}


def split_named(word: str) -> str:
    """The split that a word names, whatever its case; "" if it names none.

    >>> split_named("Validate"), split_named("dev"), split_named("holdout")
    ('val', 'val', '')
    """
    return _SPLIT_OF.get(word.strip().lower(), "")

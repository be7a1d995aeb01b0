"""Which files of a folder are frames, and in what order they are shown."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from conical.core.errors import DecodeError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
# Images carry no time: frame k is at second k, so that a clip's window counts frames
IMAGES_FPS = 1.0
_NUMBER = re.compile(r"([0-9]+)")


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images of a folder, by name; hidden files, other files and sub-folders are none.

    A link that leads nowhere is one, so that it is named as damaged: left out, it would shift all frames after it.

    Raises:
        OSError: the folder cannot be read.
    """
    return tuple(
        sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
        )
    )


def natural_key(name: str) -> tuple[str | int, ...]:
    """What names are ordered by: runs of digits count as numbers, letters without case, the extension not at all.

    Texts and numbers alternate, a text first, so that two keys can always be compared.

    >>> natural_key("shot2_Frame010.jpg")
    ('shot', 2, '_frame', 10, '')
    >>> sorted(["10.jpg", "2.png", "01.jpg"], key=natural_key)
    ['01.jpg', '2.png', '10.jpg']
    """
    pieces = _NUMBER.split(Path(name).stem)
    return tuple(int(piece) if position % 2 else piece.casefold() for position, piece in enumerate(pieces))


def ordered_images(folder: Path) -> tuple[Path, ...]:
    """The images of a folder in natural order: frame k is the k-th of them.

    Raises:
        DecodeError: `empty`, there is none; `refused`, two have one place in the order.
    """
    paths = sorted(image_files(folder), key=lambda path: natural_key(path.name))
    if not paths:
        raise DecodeError("empty", f"{folder.name}: the folder holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    for one, other in pairwise(paths):
        if natural_key(one.name) == natural_key(other.name):
            raise DecodeError(
                "refused", f"{folder.name}: {one.name} and {other.name} have the same place in the order; remove one"
            )
    return tuple(paths)

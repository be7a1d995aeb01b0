"""How many bytes a container says it has beyond the end of its file.

Only the outermost length fields are read, so this needs no decoder and cannot be misled by one. MPEG streams and raw
elementary streams declare no length: for them nothing can be said.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML_MAGIC = b"\x1a\x45\xdf\xa3"
_TOP_LEVEL_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot", b"uuid"}


def container_kind(path: Path) -> str | None:
    """Family of the file by its first bytes: `mp4`, `riff`, `matroska`, or None if it is none of them."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] in _TOP_LEVEL_BOXES:
        return "mp4"
    if head[:4] == b"RIFF":
        return "riff"
    return "matroska" if head[:4] == _EBML_MAGIC else None


def num_missing_bytes(path: Path) -> int:
    """Bytes that the container's own length fields place beyond the end of the file; 0: none, or not said."""
    kind = container_kind(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind == "mp4":
            return max(0, _end_of_boxes(file, size) - size)
        if kind == "riff":
            return max(0, _end_of_riff(file, size) - size)
        if kind == "matroska":
            return max(0, _end_of_segment(file) - size)
    return 0


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Walk the top-level boxes of ISO base media (ISO/IEC 14496-12, 4.2) to where the last one ends."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return position + 8
        length = int.from_bytes(head[:4], "big")
        if length == 0:  # the box runs to the end of the file, whatever that is
            return size
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return size
        position += length
    return position


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Walk the RIFF chunks (a large AVI has several) to where the last one ends."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        # writers to a pipe leave the length open
        if head[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            return size
        position += 8 + length + length % 2
    return position - 1 if position == size + 1 else position


def _end_of_segment(file: BinaryIO) -> int:
    """End of the first Segment of a Matroska file (RFC 9559), 0 if its length is unknown."""
    file.seek(len(_EBML_MAGIC))
    header_length = _read_length(file)
    if header_length is None:
        return 0
    file.seek(header_length, 1)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    length = _read_length(file)
    return 0 if length is None else file.tell() + length


def _read_length(file: BinaryIO) -> int | None:
    """An EBML variable-length integer; None when it is cut off or says `unknown` (all ones)."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    num_bytes = 9 - first[0].bit_length()
    rest = file.read(num_bytes - 1)
    value = int.from_bytes(bytes([first[0] & (0xFF >> num_bytes)]) + rest, "big")
    is_unknown = value == (1 << 7 * num_bytes) - 1
    return None if is_unknown or len(rest) < num_bytes - 1 else value

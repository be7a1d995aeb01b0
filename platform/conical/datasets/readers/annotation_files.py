"""Annotation files as people have them: anywhere under a root, in any sub-folder, plain or inside a zip of any name.

Nothing is unpacked to disk, and nothing larger than `MAX_BYTES` is read.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from conical.core.errors import DataError

# The largest published file is about 20 MB. A zip of a few kB can swell to terabytes, so there must be a limit.
MAX_BYTES = 1 << 29
_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".txt", ".pkl"})


@dataclass(frozen=True, order=True)
class AnnotationFile:
    """A file, or a member of a zip.

    Args:
        path: of the file or of the zip.
        member: name inside the zip; "" for a plain file.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The last part of its address."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    def read_bytes(self, *, max_bytes: int = MAX_BYTES) -> bytes:
        """All of it.

        Args:
            max_bytes: the most that is read.

        Raises:
            DataError: it is larger, or cannot be read.
        """
        try:
            if self.member:
                # the size a zip announces may be a lie, so the reading itself stops
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    content = file.read(max_bytes + 1)
            else:
                with self.path.open("rb") as file:
                    content = file.read(max_bytes + 1)
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self} cannot be read ({error}): download it again") from error
        if len(content) > max_bytes:
            raise DataError(f"{self} must have at most {max_bytes:,} bytes: this is not the published file")
        return content


@dataclass(frozen=True)
class AnnotationFiles:
    """All files under a root that may hold annotations.

    Args:
        files: sorted by path; members of zips among them.
    """

    root: Path
    files: tuple[AnnotationFile, ...] = field(repr=False)

    @classmethod
    def scan(cls, root: str | Path) -> AnnotationFiles:
        """Look through a folder once.

        Args:
            root: the folder; links below it are followed.

        Raises:
            DataError: a zip cannot be opened.
        """
        return cls(Path(root), tuple(sorted(_walk(Path(root)))))

    def matching(self, *patterns: str) -> list[AnnotationFile]:
        """One file per name, for all names that fit a shell pattern, upper and lower case alike.

        Args:
            patterns: such as `*_videodatainfo.json`.

        Raises:
            DataError: files of one name differ.
        """
        named: dict[str, list[AnnotationFile]] = {}
        for file in self.files:
            if any(fnmatchcase(file.name.lower(), pattern.lower()) for pattern in patterns):
                named.setdefault(file.name.lower(), []).append(file)
        return [_only(copies) for copies in named.values()]

    def find(self, *names: str) -> AnnotationFile | None:
        """The file of the first name that is there, or None.

        Raises:
            DataError: files of that name differ.
        """
        for name in names:
            if matches := self.matching(name):
                return matches[0]
        return None

    def require(self, *names: str, why: str) -> AnnotationFile:
        """The file of the first name that is there.

        Args:
            names: in order of preference.
            why: what to do without it, for the message.

        Raises:
            DataError: none is there, or files of one name differ.
        """
        file = self.find(*names)
        if file is None:
            raise DataError(f"there is no {' or '.join(names)} under {self.root}, in a zip neither: {why}")
        return file


def read_json(file: AnnotationFile) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is not JSON.
    """
    return parse_json(read_text(file), str(file))


def parse_json(
    text: str, where: str, *, advice: str = "download it again", constant: Callable[[str], Any] = lambda _: None
) -> Any:
    """What a JSON text holds.

    Args:
        text: a whole file, or a line of one.
        where: which, for the message.
        advice: what to do if it is not JSON, for the message.
        constant: what becomes of `NaN` and the infinities. Python writes them for values that are not there, so in a
            published file they are None.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}): {advice}") from error


def read_text(file: AnnotationFile) -> str:
    """The text of a UTF-8 file, as it is but for a mark at its start.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text ({error}): save it anew") from error


def read_lines(file: AnnotationFile) -> list[tuple[int, str]]:
    """Lines that are not blank, stripped, with their numbers from 1."""
    # only line feeds end a line: a caption may hold other characters that Python would split at
    numbered = enumerate((line.strip() for line in read_text(file).split("\n")), start=1)
    return [(number, line) for number, line in numbered if line]


def _walk(root: Path) -> Iterator[AnnotationFile]:
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            if name.startswith("."):
                continue
            if path.suffix.lower() == ".zip":
                yield from _members(path)
            elif path.suffix.lower() in _SUFFIXES:
                yield AnnotationFile(path)


def _members(path: Path) -> list[AnnotationFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}): download it again, or remove it") from error
    return [AnnotationFile(path, name) for name in names if _is_annotation(PurePosixPath(name))]


def _is_annotation(member: PurePosixPath) -> bool:
    # other systems leave shadows of each file in a folder of theirs
    return member.suffix.lower() in _SUFFIXES and "__MACOSX" not in member.parts and not member.name.startswith(".")


def _only(copies: Sequence[AnnotationFile]) -> AnnotationFile:
    first, *others = copies
    content = first.read_bytes() if others else b""
    for other in others:
        if other.read_bytes() != content:
            raise DataError(f"{first} and {other} have one name and differ: leave one of them")
    return first

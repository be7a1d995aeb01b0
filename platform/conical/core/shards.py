"""Tar files as bags of members that are reached by name, without unpacking.

Reading and decoding both need this, and they are siblings. Only headers are read; the data of a member is then found
by its offset. Nothing is ever extracted under a name that the archive chose.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SHARD_SUFFIX = ".tar"
_CHUNK_BYTES = 1 << 20
# a member costs about 300 bytes, a shard usually holds some thousand
_CACHED_SHARDS = 128


@dataclass(frozen=True, kw_only=True)
class ShardMember:
    """Where the data of a member lies in its shard.

    Args:
        offset_bytes: of its first byte.
        num_bytes: how many it has.
    """

    offset_bytes: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The members of a shard.

    Args:
        members: name, with `.` and doubled slashes taken out, to place; regular files only, in the shard's order.
        repeated: names that come more than once; the last one counts, as in every tar file.
        refused: name of each member that is no plain file of the shard to what it is instead.
        is_whole: the end-of-archive mark is there; without it, the file was cut or damaged.
    """

    members: Mapping[str, ShardMember]
    repeated: tuple[str, ...]
    refused: Mapping[str, str]
    is_whole: bool

    def __repr__(self) -> str:
        return f"ShardIndex(members={len(self.members)}, refused={len(self.refused)}, is_whole={self.is_whole})"


def shard_of(path: str | Path) -> tuple[Path, str] | None:
    """Split `folder/shard.tar/key.mp4` into shard and member name; None for a path that leads through no tar file."""
    path = Path(path)
    for parent in path.parents:
        if parent.suffix == SHARD_SUFFIX and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def index_shard(path: str | Path) -> ShardIndex:
    """List a shard; kept in this process for as long as the file stays the same, since members are asked for singly.

    Raises:
        tarfile.TarError: it is no uncompressed tar file.
        OSError: it cannot be read.
    """
    stat = Path(path).stat()
    return _index_version(str(path), stat.st_mtime_ns, stat.st_size)


def member_chunks(path: str | Path, member: ShardMember) -> Iterator[bytes]:
    """The bytes of a member, a piece at a time.

    Raises:
        EOFError: the shard ends before the member does.
        OSError: the shard cannot be read.
    """
    with Path(path).open("rb") as file:
        file.seek(member.offset_bytes)
        left = member.num_bytes
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise EOFError(f"{Path(path).name} ends {left} bytes before its member does")
            left -= len(chunk)
            yield chunk


@lru_cache(maxsize=_CACHED_SHARDS)
def _index_version(path: str, mtime_ns: int, num_bytes: int) -> ShardIndex:  # noqa: ARG001 - they tell versions apart
    members: dict[str, ShardMember] = {}
    repeated: list[str] = []
    refused: dict[str, str] = {}
    with _opened(path) as tar:
        entries, is_read = _entries(tar)
        for entry in entries:
            name = posixpath.normpath(entry.name)
            if entry.isdir():
                continue
            if reason := _why_refused(entry, name):
                refused[name] = reason
                continue
            if name in members:
                repeated.append(name)
            members[name] = ShardMember(offset_bytes=entry.offset_data, num_bytes=entry.size)
        is_whole = is_read and _ends_with_mark(path, tar.offset)
    return ShardIndex(members=members, repeated=tuple(repeated), refused=refused, is_whole=is_whole)


def _opened(path: str) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except ValueError as error:
        raise tarfile.ReadError(f"damaged extended header, {error}") from error


def _entries(tar: tarfile.TarFile) -> tuple[list[tarfile.TarInfo], bool]:
    """The headers that can be read, and whether none stopped that: what a cut shard still holds is worth having."""
    entries: list[tarfile.TarInfo] = []
    try:
        while (entry := tar.next()) is not None:
            entries.append(entry)
    # a damaged extended header makes tarfile raise a plain ValueError
    except (tarfile.TarError, ValueError):
        return entries, False
    return entries, True


def _why_refused(entry: tarfile.TarInfo, name: str) -> str:
    if name.startswith(("/", "../")) or name == "..":
        return "a name that leaves the shard"
    if entry.issym() or entry.islnk():
        return "a link"
    if entry.issparse():
        return "a sparse file"
    return "" if entry.isreg() else "no regular file"


def _ends_with_mark(path: str, offset: int) -> bool:
    """Whether reading stopped at the block of zeros that ends an archive; tarfile also stops at a damaged header."""
    with Path(path).open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)

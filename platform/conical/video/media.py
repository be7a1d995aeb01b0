"""Where a clip really is: a file, a folder of images, or a member of a tar file (`shard.tar/key.mp4`)."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from conical.core.errors import DecodeError
from conical.core.hashing import file_fingerprint, stable_hash
from conical.core.shards import ShardMember, index_shard, member_chunks, shard_of
from conical.video.backends.image_order import image_files

_FINGERPRINT_DIGITS = 16


@contextmanager
def local_media(path: str | Path) -> Iterator[Path]:
    """A path that a decoder can open, while the context lasts.

    A file and a folder are themselves. A member of a tar file is copied, under its own name, into a temporary folder
    that goes when the context ends.

    Args:
        path: file, folder, or a path that leads through a `.tar` file. It need not exist: the decoder says so.

    Raises:
        DecodeError: `missing`, the tar file has no such member; `refused`, the member is no plain file; `truncated` or
            `corrupt`, the tar file is damaged.
    """
    place = shard_of(path)
    if place is None:
        yield Path(path)
        return
    shard, name = place
    member = _locate(shard, name)
    with TemporaryDirectory(prefix="conical-") as folder:
        # its own name: messages name the file, and must not change from one run to the next
        copy = Path(folder) / PurePosixPath(name).name
        with copy.open("wb") as file:
            for chunk in _member_bytes(shard, name, member):
                file.write(chunk)
        yield copy


def media_fingerprint(path: str | Path) -> str:
    """Content address of a clip.

    Args:
        path: as for `local_media`.

    Returns:
        Of a file its `file_fingerprint`; of a tar member that of the same bytes in a file; of a folder a hash of the
        names and bytes of its images.

    Raises:
        OSError: the file or member is not there or cannot be read.
    """
    path = Path(path)
    place = shard_of(path)
    if place is None:
        return _folder_fingerprint(path) if path.is_dir() else file_fingerprint(path, length=_FINGERPRINT_DIGITS)
    digest = hashlib.sha256()
    try:
        for chunk in _member_bytes(*place, _locate(*place)):
            digest.update(chunk)
    except DecodeError as error:
        raise FileNotFoundError(str(error)) from error
    return digest.hexdigest()[:_FINGERPRINT_DIGITS]


def _folder_fingerprint(folder: Path) -> str:
    # names decide the order of the frames
    return stable_hash(
        [(path.name, file_fingerprint(path)) for path in image_files(folder)], length=_FINGERPRINT_DIGITS
    )


def _locate(shard: Path, name: str) -> ShardMember:
    try:
        index = index_shard(shard)
    except tarfile.TarError as error:
        raise DecodeError("corrupt", f"{shard.name}: not an uncompressed tar file ({error})") from error
    except OSError as error:
        raise DecodeError("missing", f"{shard.name}: the tar file cannot be read ({error.strerror})") from error
    if name in index.members:
        return index.members[name]
    if name in index.refused:
        raise DecodeError("refused", f"{shard.name}/{name}: {index.refused[name]} is not read from a tar file")
    if not index.is_whole:
        raise DecodeError("truncated", f"{shard.name}/{name}: the tar file is cut or damaged before this member")
    raise DecodeError("missing", f"{shard.name}/{name}: the tar file has no such member")


def _member_bytes(shard: Path, name: str, member: ShardMember) -> Iterator[bytes]:
    try:
        yield from member_chunks(shard, member)
    except EOFError as error:
        raise DecodeError("truncated", f"{shard.name}/{name}: {error}") from error

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from conical.core.shards import ShardMember, index_shard, member_chunks, shard_of
from shard_factory import add_special, write_shard


def _read(path: Path, name: str) -> bytes:
    return b"".join(member_chunks(path, index_shard(path).members[name]))


def test_members_are_read_by_name(tmp_path: Path) -> None:
    large = os.urandom(3 * (1 << 20) + 7)  # several chunks, and a last one that is not full
    path = write_shard(tmp_path / "s.tar", {"a.txt": b"one", "./b//c.mp4": large, "empty": b"", "ü" * 150: b"long"})
    index = index_shard(path)
    assert list(index.members) == ["a.txt", "b/c.mp4", "empty", "ü" * 150]
    assert index.members["a.txt"] == ShardMember(offset_bytes=512, num_bytes=3)
    assert (index.repeated, index.refused, index.is_whole) == ((), {}, True)
    assert [_read(path, name) for name in index.members] == [b"one", large, b"", b"long"]
    assert repr(index) == "ShardIndex(members=4, refused=0, is_whole=True)"


def test_the_last_of_two_members_of_one_name_counts(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "s.tar", [("a", b"old"), ("b", b"x"), ("./a", b"new")])
    assert index_shard(path).repeated == ("a",)
    assert _read(path, "a") == b"new"


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("link", tarfile.SYMTYPE, "a link"),
        ("hard", tarfile.LNKTYPE, "a link"),
        ("pipe", tarfile.FIFOTYPE, "no regular file"),
        ("../out", tarfile.REGTYPE, "a name that leaves the shard"),
        ("x/../../out", tarfile.REGTYPE, "a name that leaves the shard"),
        ("/etc/passwd", tarfile.REGTYPE, "a name that leaves the shard"),
    ],
)
def test_what_is_no_plain_file_of_the_shard_is_refused(tmp_path: Path, name: str, kind: bytes, reason: str) -> None:
    path = write_shard(tmp_path / "s.tar", {"a": b"x"})
    add_special(path, name, kind=kind, target="a")
    index = index_shard(path)
    assert list(index.members) == ["a"]
    assert list(index.refused.values()) == [reason]


def test_folders_are_no_members(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "s.tar", {"d/a": b"x"})
    add_special(path, "d", kind=tarfile.DIRTYPE)
    index = index_shard(path)
    assert (list(index.members), index.refused) == (["d/a"], {})


@pytest.mark.parametrize("num_bytes", [512 + 1024 + 512, 512 + 1024 + 512 + 700, 512 + 1024 + 100])
def test_a_cut_shard_is_not_whole_and_keeps_what_it_has(tmp_path: Path, num_bytes: int) -> None:
    # header 512, data 1024, header 512, data 1024, end mark
    path = write_shard(tmp_path / "s.tar", {"a": b"a" * 1024, "b": b"b" * 1024})
    assert index_shard(path).is_whole
    path.write_bytes(path.read_bytes()[:num_bytes])
    index = index_shard(path)
    assert not index.is_whole
    assert _read(path, "a") == b"a" * 1024
    if "b" in index.members:
        with pytest.raises(EOFError, match=r"s.tar ends \d+ bytes before its member does"):
            _read(path, "b")


def test_a_damaged_header_shows(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "s.tar", {"a": b"a" * 512, "b": b"b"})
    data = bytearray(path.read_bytes())
    data[1024 + 148] ^= 0xFF  # checksum of the second header
    path.write_bytes(data)
    index = index_shard(path)
    assert (list(index.members), index.is_whole) == (["a"], False)


@pytest.mark.parametrize("position", ["first", "second"])
def test_a_damaged_extended_header_is_damage_too(tmp_path: Path, position: str) -> None:
    path = tmp_path / "s.tar"
    if position == "second":
        write_shard(path, {"a": b"x"})
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("b")
        entry.pax_headers = {"GNU.sparse.map": "0,x"}
        tar.addfile(entry)
    if position == "second":
        index = index_shard(path)
        assert (list(index.members), index.is_whole) == (["a"], False)
    else:
        with pytest.raises(tarfile.TarError, match="damaged extended header, invalid literal"):
            index_shard(path)


@pytest.mark.parametrize("content", [b"", b"no archive" * 100])
def test_a_file_that_is_no_archive_is_named_by_tarfile(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(tarfile.TarError):
        index_shard(tmp_path / "s.tar")


def test_a_shard_is_listed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_shard(tmp_path / "s.tar", {f"{k}.txt": b"%d" % k for k in range(1000)})
    opened = []
    monkeypatch.setattr("tarfile.open", lambda *args, original=tarfile.open: opened.append(args) or original(*args))
    for k in range(1000):
        assert _read(path, f"{k}.txt") == b"%d" % k
    assert len(opened) == 1
    monkeypatch.undo()
    write_shard(path, {"new.txt": b"new"})
    assert list(index_shard(path).members) == ["new.txt"]


def test_a_path_is_split_at_its_tar_file(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "d" / "s.tar", {"a": b"x"})
    (tmp_path / "folder.tar").mkdir()
    assert shard_of(shard / "k" / "a.mp4") == (shard, "k/a.mp4")
    assert shard_of(str(shard / "a.mp4")) == (shard, "a.mp4")
    assert shard_of(shard) is None
    assert shard_of(tmp_path / "d" / "a.mp4") is None
    assert shard_of(tmp_path / "folder.tar" / "a.mp4") is None
    assert shard_of(tmp_path / "absent.tar" / "a.mp4") is None

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from clip_factory import named_indices, write_clip
from conical.core.errors import DecodeError
from conical.core.hashing import file_fingerprint
from conical.video import DecodeProcess, FrameRecipe, local_media, media_fingerprint, sample_frames
from shard_factory import add_special, write_shard

RECIPE = FrameRecipe(size=16, num_frames=4)


def _enter(path: Path) -> None:
    with local_media(path):
        pass


@pytest.mark.parametrize("kind", ["file", "folder", "absent"])
def test_what_is_no_member_is_itself(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "clip"
    if kind == "file":
        path.write_bytes(b"x")
    elif kind == "folder":
        path.mkdir()
    with local_media(path) as local:
        assert local == path
    assert path.exists() == (kind != "absent")


def test_a_member_is_decoded_like_the_file_outside(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "k.mp4", num_frames=12)
    shard = write_shard(tmp_path / "s.tar", {"k.txt": b"words", "deep/k.mp4": clip.read_bytes()})
    with local_media(shard / "deep" / "k.mp4") as local:
        assert local.name == "k.mp4"
        sampled = sample_frames(local, RECIPE)
    expected = sample_frames(clip, RECIPE)
    assert (sampled.frames == expected.frames).all()
    assert named_indices(sampled.frames) == list(expected.frame_indices)


def test_the_copy_is_gone_afterwards_even_after_an_error(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"k.mp4": b"x"})
    with local_media(shard / "k.mp4") as local:
        assert local.read_bytes() == b"x"
    assert not local.parent.exists()
    with pytest.raises(DecodeError, match=r"k.mp4: no container format"), local_media(shard / "k.mp4") as local:
        sample_frames(local, RECIPE)
    assert not local.parent.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tar"]


def test_the_decoding_process_takes_folders_and_copies(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"k.mp4": write_clip(tmp_path / "k.mp4", num_frames=9).read_bytes()})
    (tmp_path / "empty").mkdir()
    with DecodeProcess(RECIPE) as process:
        with local_media(shard / "k.mp4") as local:
            assert named_indices(process.sample(local).frames) == [0, 3, 5, 8]
        with pytest.raises(DecodeError, match="empty: the folder holds no image"), local_media(tmp_path / "empty") as a:
            process.sample(a)


def test_a_member_that_is_not_there_is_missing(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"k.mp4": b"x"})
    with pytest.raises(DecodeError, match=r"s.tar/other.mp4: the tar file has no such member") as caught:
        _enter(shard / "other.mp4")
    assert caught.value.kind == "missing"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"k.mp4": b"x"})
    add_special(shard, "link.mp4", kind=tarfile.SYMTYPE, target="/etc/passwd")
    with pytest.raises(DecodeError, match=r"s.tar/link.mp4: a link is not read from a tar file") as caught:
        _enter(shard / "link.mp4")
    assert caught.value.kind == "refused"


def test_members_of_a_cut_shard_are_truncated(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"a.mp4": b"a" * 512, "b.mp4": b"b" * 5000, "c.mp4": b"c"})
    shard.write_bytes(shard.read_bytes()[: 512 * 4])
    with local_media(shard / "a.mp4") as local:
        assert local.read_bytes() == b"a" * 512
    for name in ("b.mp4", "c.mp4"):
        with pytest.raises(DecodeError, match=rf"s.tar/{name}: ") as caught:
            _enter(shard / name)
        assert caught.value.kind == "truncated"
    with pytest.raises(DecodeError, match=r"s.tar/c.mp4: the tar file is cut or damaged before this member"):
        _enter(shard / "c.mp4")


def test_a_member_that_is_cut_itself_is_truncated(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"a.mp4": b"a" * 5000})
    shard.write_bytes(shard.read_bytes()[: 512 * 4])
    with pytest.raises(DecodeError, match=r"s.tar/a.mp4: s.tar ends 3464 bytes before its member does") as caught:
        _enter(shard / "a.mp4")
    assert caught.value.kind == "truncated"


def test_a_shard_that_is_no_archive_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"\x1f\x8b" + b"x" * 1000)
    with pytest.raises(DecodeError, match=r"s.tar: not an uncompressed tar file") as caught:
        _enter(tmp_path / "s.tar" / "a.mp4")
    assert caught.value.kind == "corrupt"


def test_a_shard_that_cannot_be_read_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write_shard(tmp_path / "s.tar", {"a.mp4": b"x"})

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("conical.video.media.index_shard", refuse)
    with pytest.raises(DecodeError, match=r"s.tar: the tar file cannot be read \(Permission denied\)") as caught:
        _enter(shard / "a.mp4")
    assert caught.value.kind == "missing"


def test_the_fingerprint_of_a_file_is_that_of_its_bytes_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film" * 999)
    shard = write_shard(tmp_path / "s.tar", {"x": b"y", "d/b.mp4": b"film" * 999})
    assert media_fingerprint(tmp_path / "a.mp4") == file_fingerprint(tmp_path / "a.mp4")
    assert media_fingerprint(shard / "d" / "b.mp4") == file_fingerprint(tmp_path / "a.mp4")
    assert media_fingerprint(shard / "x") != file_fingerprint(tmp_path / "a.mp4")


def test_the_fingerprint_of_a_folder_knows_names_and_bytes_of_its_images(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(b"a")
    (folder / "1.jpg").write_bytes(b"b")
    first = media_fingerprint(folder)
    (folder / "notes.txt").write_bytes(b"no frame")
    assert media_fingerprint(folder) == first
    (folder / "1.jpg").write_bytes(b"c")
    changed = media_fingerprint(folder)
    (folder / "1.jpg").rename(folder / "2.jpg")
    renamed = media_fingerprint(folder)
    assert len({first, changed, renamed}) == 3
    assert {len(first), len(changed)} == {16}


@pytest.mark.parametrize("name", ["absent.mp4", "s.tar/absent.mp4"])
def test_what_is_not_there_has_no_fingerprint(tmp_path: Path, name: str) -> None:
    write_shard(tmp_path / "s.tar", {"a.mp4": b"x"})
    with pytest.raises(OSError, match=r"absent.mp4"):
        media_fingerprint(tmp_path / name)

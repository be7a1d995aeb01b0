"""Tar shards, written here the way the webdataset tools write them."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from clip_factory import named_indices, write_clip
from conical import datasets
from conical.core.errors import DataError
from conical.core.records import VideoRecord
from conical.datasets.addresses import confined_path
from conical.datasets.readers.webdataset import read_webdataset
from conical.video import FrameRecipe, local_media, sample_frames
from shard_factory import add_special, write_shard


def _json(**fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def _video(video_id: str, uri: str, split: str = "train", **fields: object) -> VideoRecord:
    return VideoRecord(video_id=video_id, uri=uri, split=split, **fields)


def test_files_of_one_key_are_a_sample(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "train-00000.tar",
        {
            "000.mp4": b"v",
            "000.txt": "A cat. \nune échelle\r\n".encode(),
            "000.json": _json(
                caption="a caption", source_id="yt1", start_seconds=1, end_seconds=2.5, width=320, url=None
            ),
            "clips.v1/001.low.WEBM": b"v",
            "clips.v1/001.json": _json(video_id="two", captions=["x", "y"]),
            "002.mkv": b"v",
        },
    )
    assert read_webdataset(tmp_path).videos == (
        _video(
            "000",
            "train-00000.tar/000.mp4",
            captions=("A cat. ", "une échelle", "a caption"),
            source_id="yt1",
            start_seconds=1,
            end_seconds=2.5,
            extra={"width": 320},
        ),
        _video("two", "train-00000.tar/clips.v1/001.low.WEBM", captions=("x", "y")),
        _video("002", "train-00000.tar/002.mkv"),
    )


def test_a_key_in_a_folder_becomes_an_id_without_slashes(tmp_path: Path) -> None:
    write_shard(tmp_path / "test.tar", {"./a/b/7.mp4": b"v", "a/b/7.txt": b"x"})
    assert read_webdataset(tmp_path).videos == (_video("a-b-7", "test.tar/a/b/7.mp4", "test", captions=("x",)),)


@pytest.mark.parametrize(
    ("address", "said", "split"),
    [
        ("train-00000.tar", "", "train"),
        ("val_0001.tar", "", "val"),
        ("Validation.tar", "", "val"),
        ("deep/test/00000.tar", "", "test"),
        ("valid/train.v2/00000.tar", "", "val"),
        ("00000.tar", "test", "test"),
        ("00000.tar", "validation", "val"),
        ("train/train-00000.tar", "train", "train"),
    ],
)
def test_the_split_is_the_folders_or_the_shards_or_the_samples(
    tmp_path: Path, address: str, said: str, split: str
) -> None:
    write_shard(tmp_path / address, {"k.mp4": b"v", "k.json": _json(split=said) if said else b"{}"})
    assert [(video.split, video.uri) for video in read_webdataset(tmp_path).videos] == [(split, f"{address}/k.mp4")]


def test_a_caption_written_as_text_and_as_json_counts_once(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "train.tar",
        {"k.mp4": b"v", "k.txt": b"one\n", "k.json": _json(caption="one", captions=["two", "one"])},
    )
    assert read_webdataset(tmp_path).videos[0].captions == ("one", "two")


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        (b"one", ("one",)),
        (b"one\n", ("one",)),
        (b"\xef\xbb\xbfone\n\ntwo", ("one", "", "two")),
        (b"", ("",)),
        ("a\u2028b".encode(), ("a\u2028b",)),
    ],
)
def test_a_line_is_a_caption_and_blank_ones_are_kept_for_the_import_to_count(
    tmp_path: Path, text: bytes, captions: tuple[str, ...]
) -> None:
    write_shard(tmp_path / "train.tar", {"k.mp4": b"v", "k.txt": text})
    assert read_webdataset(tmp_path).videos[0].captions == captions


def test_what_belongs_to_no_sample_is_left(tmp_path: Path) -> None:
    members = {"__index__": b"", "__meta__/k.json": b"[", "README": b"", "._k.mp4": b"", "d/._k.txt": b"\xff"}
    write_shard(tmp_path / "train.tar", {"k.mp4": b"v", **members, "k.npy": b"", "other.jpg": b""})
    (tmp_path / "._train.tar").write_bytes(b"shadow")
    (tmp_path / "train_stats.json").write_bytes(b"{}")
    assert [video.uri for video in read_webdataset(tmp_path).videos] == ["train.tar/k.mp4"]


def test_a_sample_without_a_video_is_missing_at_import(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", {"a.mp4": b"v", "a.txt": b"x", "b.txt": b"y"})
    with pytest.raises(DataError, match=r"videos of 'webdataset' are missing: train 2 expected, 1 found \(b\)"):
        datasets.load("webdataset", tmp_path)
    records, summary = datasets.read_dataset("webdataset", tmp_path, allow_missing=True)
    assert [record.uri for record in records] == ["train.tar/a.mp4", ""]
    assert summary.missing == ("b",)


def test_an_imported_sample_decodes_to_its_own_frames(tmp_path: Path) -> None:
    clips = {k: write_clip(tmp_path / f"{k}.mp4", num_frames=k + 3).read_bytes() for k in range(3)}
    root = tmp_path / "root"
    write_shard(root / "train-0.tar", {"0.mp4": clips[0], "0.txt": b"x", "1.mp4": clips[1], "1.txt": b"x"})
    write_shard(root / "test-0.tar", {"2.mp4": clips[2], "2.txt": b"x"})
    lengths = {}
    for record in datasets.load("webdataset", root):
        with local_media(confined_path(root, record.uri)) as path:
            sampled = sample_frames(path, FrameRecipe(size=16, num_frames=2))
        assert named_indices(sampled.frames) == list(sampled.frame_indices)
        lengths[record.video_id] = sampled.frame_indices[-1] + 1
    assert lengths == {"0": 3, "1": 4, "2": 5}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"k.mp4": b"", "k.avi": b""}, r"train.tar, sample 'k' must have one video, got k.mp4 and k.avi: split the"),
        ({"k.json": b"{}", "k.meta.json": b"{}"}, r"sample 'k' must have one JSON file, got k.json and k.meta.json"),
        ({"k.json": b"{"}, r"train.tar/k.json is not JSON \(.*\): write one object"),
        ({"k.json": b"[" * 5000}, r"train.tar/k.json is not JSON \(.*recursion.*\): write one object"),
        (
            {"k.json": json.dumps({"caption": "\ud83d"}).encode()},
            r"sample 'k': captions must hold whole characters, .*, got '.ud83d'",
        ),
        ({"k.json": _json(start_seconds=10**400)}, r"sample 'k': start_seconds must hold .*, numbers below 2\*\*63"),
        ({"k.json": _json(more={"n": [10**400]})}, r"sample 'k': extra must hold .*, numbers below 2\*\*63 .*got 1000"),
        ({"k.json": b"[1]"}, r"train.tar/k.json must be a JSON object, got list"),
        ({"k.json": b'{"start_seconds": NaN}'}, r"train.tar/k.json is not JSON \(NaN is no number\)"),
        ({"k.json": b'{"end_seconds": 1e999}'}, r"train.tar/k.json: end_seconds must be finite, got inf"),
        ({"k.json": _json(captions="x")}, r"train.tar/k.json: captions must be list, got 'x'"),
        ({"k.json": _json(start_seconds=True)}, r"train.tar/k.json: start_seconds must be int, got True"),
        ({"k.json": _json(captions=["x", 1])}, r"sample 'k': captions must be a list of strings, got \['x', 1\]"),
        ({"k.json": _json(split="test")}, r"sample 'k' must have one split, got train from the shard's name and test"),
        ({"k.json": _json(video_id="a/b")}, r"sample 'k': video_id must be a plain name .*, got 'a/b'"),
        ({"k.json": _json(start_seconds=3, end_seconds=2)}, r"sample 'k': k must have 0 <= start_seconds < end_sec"),
        ({"k.txt": b"\xff"}, r"train.tar/k.txt is not UTF-8 text \(.*\): save it anew"),
        ({"a/k.mp4": b"", "a-k.mp4": b""}, r"'a-k' comes twice \(train.tar/a/k.mp4 and train.tar/a-k.mp4\)"),
        ({"k.txt": b"", "j.json": _json(video_id="k")}, r"'k' comes twice \(without a video and without a video\)"),
        ({"k.jpg": b""}, r"the shards under .* hold no video and no caption: a sample is key.mp4 and key.txt"),
    ],
)
def test_a_wrong_sample_is_named(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    write_shard(tmp_path / "train.tar", members)
    with pytest.raises(DataError, match=message):
        read_webdataset(tmp_path)


def test_a_sample_of_no_split_or_an_unknown_one_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "00000.tar", {"k.mp4": b""})
    with pytest.raises(DataError, match=r"00000.tar, sample 'k' has no split: name the shard train-…, val-… or test-…"):
        read_webdataset(tmp_path)
    write_shard(tmp_path / "00000.tar", {"k.json": _json(split="holdout")})
    with pytest.raises(DataError, match=r"sample 'k': split of k must be one of train, val, test; got 'holdout'"):
        read_webdataset(tmp_path)


def test_a_shard_of_two_splits_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train" / "test-0.tar", {"k.mp4": b""})
    with pytest.raises(DataError, match=r"train/test-0.tar must name one split, got test and train: rename it"):
        read_webdataset(tmp_path)


@pytest.mark.parametrize("name", ["train.tar.gz", "train.tgz", "train.TAR.zst", "deep/train.tar.xz"])
def test_a_compressed_shard_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    write_shard(tmp_path / "test.tar", {"k.mp4": b""})
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"shards must be plain .tar files, got {name}: unpack it to .tar \(gunzip"):
        read_webdataset(tmp_path)


def test_a_shard_in_capitals_is_not_passed_over(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", {"k.mp4": b""})
    (tmp_path / "test.TAR").write_bytes(b"")
    with pytest.raises(DataError, match=r"shards must end in .tar, got test.TAR: rename it"):
        read_webdataset(tmp_path)


def test_a_compressed_shard_under_a_plain_name_is_refused(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.tar", {"k.mp4": b""})
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    with pytest.raises(DataError, match=r"train.tar is not an uncompressed tar file \(.*\): copy it again"):
        read_webdataset(tmp_path)


def test_a_cut_shard_is_refused(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "train.tar", {"a.mp4": b"v" * 900, "b.mp4": b"v" * 900})
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"train.tar ends without the mark of a tar file's end: it was cut or damaged"):
        read_webdataset(tmp_path)


def test_a_member_packed_twice_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", [("k.mp4", b"1"), ("./k.mp4", b"2")])
    with pytest.raises(DataError, match=r"train.tar holds 'k.mp4' more than once: keys must be unique, pack it again"):
        read_webdataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("link.mp4", tarfile.SYMTYPE, "a link"),
        ("hard.mp4", tarfile.LNKTYPE, "a link"),
        ("../../out.mp4", tarfile.REGTYPE, "a name that leaves the shard"),
        ("/out.mp4", tarfile.REGTYPE, "a name that leaves the shard"),
    ],
)
def test_members_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, kind: bytes, reason: str) -> None:
    shard = write_shard(tmp_path / "train.tar", {"k.mp4": b""})
    add_special(shard, name, kind=kind, target="k.mp4")
    with pytest.raises(DataError, match=rf"train.tar holds '{name}', {reason}: pack plain files with relative names"):
        read_webdataset(tmp_path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", {"caf\udce9.mp4": b""})
    with pytest.raises(DataError, match=r"train.tar holds the name 'caf\\udce9.mp4', which is not UTF-8 text"):
        read_webdataset(tmp_path)


def test_a_text_that_is_no_caption_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conical.datasets.readers.webdataset._MAX_TEXT_BYTES", 1000)
    write_shard(tmp_path / "train.tar", {"k.txt": b"x" * 1001})
    with pytest.raises(DataError, match=r"train.tar/k.txt must have at most 1,000 bytes, got 1,001: it is no caption"):
        read_webdataset(tmp_path)


def test_a_root_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset root .* holds no .tar shard: it must be the folder of the shards"):
        read_webdataset(tmp_path)

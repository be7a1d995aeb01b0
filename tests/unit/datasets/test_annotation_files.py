"""Annotation files are found wherever they lie, read no further than a limit, and named when they are wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from conical.core.errors import DataError
from conical.datasets.readers.annotation_entries import entry, split_of_each, to_record, typed
from conical.datasets.readers.annotation_files import (
    AnnotationFile,
    AnnotationFiles,
    parse_json,
    read_json,
    read_lines,
    read_text,
)
from conical.datasets.readers.csv_files import read_ids, read_rows


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _zip(path: Path, **members: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json"), content)
    return path


@pytest.mark.parametrize("place", ["a.json", "annotations/deep/A.JSON", "any name.zip/a.json", "x.ZIP/inner/a.json"])
def test_a_file_is_found_at_any_depth_plain_or_zipped(tmp_path: Path, place: str) -> None:
    zip_name, is_zipped, member = place.partition(".zip/" if ".zip/" in place else ".ZIP/")
    if is_zipped:
        with zipfile.ZipFile(tmp_path / (zip_name + is_zipped.rstrip("/")), "w") as archive:
            archive.writestr(member, "[1]")
            archive.writestr("__MACOSX/._a.json", "shadow")
    else:
        _write(tmp_path / place, "[1]")
    found = AnnotationFiles.scan(tmp_path).require("a.json", why="")
    assert read_json(found) == [1]
    assert str(found) == str(tmp_path / place)


def test_copies_count_as_one_and_files_of_one_name_that_differ_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "a.json", "[1]")
    _zip(tmp_path / "b.zip", a_json="[1]")
    assert AnnotationFiles.scan(tmp_path).matching("*.json") == [AnnotationFile(tmp_path / "a.json")]
    _write(tmp_path / "old" / "a.json", "[2]")
    with pytest.raises(DataError, match=r"a.json and .*old/a.json have one name and differ: leave one of them"):
        AnnotationFiles.scan(tmp_path).find("a.json")


def test_the_first_name_that_is_there_wins_and_none_is_said(tmp_path: Path) -> None:
    _write(tmp_path / "second.csv", "")
    files = AnnotationFiles.scan(tmp_path)
    assert files.require("first.csv", "second.csv", why="").name == "second.csv"
    assert files.find("third.csv") is None
    with pytest.raises(DataError, match=r"there is no third.csv or fourth.csv under .*, in a zip neither: get it"):
        files.require("third.csv", "fourth.csv", why="get it")


def test_hidden_files_are_not_read_and_links_are_followed_once(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere" / "a.json", "1")
    root = tmp_path / "root"
    _write(root / ".cache" / "b.json", "1")
    _write(root / ".c.json", "1")
    (root / "annotations").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root)
    assert [file.name for file in AnnotationFiles.scan(root).files] == ["a.json"]


def test_more_than_the_limit_is_never_read_from_a_zip_that_swells(tmp_path: Path) -> None:
    _zip(tmp_path / "bomb.zip", a_json=b"0" * 5_000_000)
    assert (tmp_path / "bomb.zip").stat().st_size < 10_000
    (file,) = AnnotationFiles.scan(tmp_path).files
    with pytest.raises(DataError, match=r"bomb.zip/a.json must have at most 1,000 bytes: this is not the published"):
        file.read_bytes(max_bytes=1000)
    assert len(file.read_bytes(max_bytes=5_000_000)) == 5_000_000


def test_a_zip_that_is_none_or_is_damaged_inside_is_named(tmp_path: Path) -> None:
    path = _zip(tmp_path / "ok.zip", a_json="[1234567890]")
    content = bytearray(path.read_bytes())
    content[content.index(b"a.json") + 8] ^= 255
    path.write_bytes(content)
    (file,) = AnnotationFiles.scan(tmp_path).files
    with pytest.raises(DataError, match=r"ok.zip/a.json cannot be read \(.*: download it again"):
        read_text(file)
    path.write_bytes(b"half a download")
    with pytest.raises(
        DataError, match=r"ok.zip cannot be read \(File is not a zip file\): download it again, or remo"
    ):
        AnnotationFiles.scan(tmp_path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": 1} x', ""])
def test_what_is_not_json_is_named(tmp_path: Path, text: str) -> None:
    file = AnnotationFile(_write(tmp_path / "a.json", text))
    with pytest.raises(DataError, match=r"a.json is not JSON \(.*: download it again"):
        read_json(file)


def test_a_number_that_is_none_becomes_nothing() -> None:
    assert parse_json('{"ocr": NaN, "b": [Infinity, 1]}', "x") == {"ocr": None, "b": [None, 1]}


def test_what_is_not_utf8_is_named_and_a_mark_at_the_start_is_dropped(tmp_path: Path) -> None:
    assert read_text(AnnotationFile(_write(tmp_path / "a.txt", b"\xef\xbb\xbfone"))) == "one"
    with pytest.raises(DataError, match=r"a.txt is not UTF-8 text \(.*: save it anew"):
        read_text(AnnotationFile(_write(tmp_path / "a.txt", b"caf\xe9")))


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    file = AnnotationFile(_write(tmp_path / "a.txt", "one\r\n\n two\u2028still two\n"))
    assert read_lines(file) == [(1, "one"), (3, "two\u2028still two")]


def test_ids_come_from_a_column_or_from_lines(tmp_path: Path) -> None:
    assert read_ids(AnnotationFile(_write(tmp_path / "a.csv", "key,video_id\n0,x\n1,y\n"))) == ("x", "y")
    assert read_ids(AnnotationFile(_write(tmp_path / "a.txt", "x\ny\n"))) == ("x", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,sentence\na,b\n", r"a.csv must have a column 'video_id', it has id, sentence: take the published file"),
        ("", r"a.csv must have a column 'video_id', it has none"),
        ("video_id,sentence\na,b\nc\n", "a.csv, line 3 must have 2 cells as the header has: quote commas"),
        ("video_id,sentence\na,b, c\n", "a.csv, line 2 must have 2 cells as the header has: quote commas"),
    ],
)
def test_a_wrong_csv_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(AnnotationFile(_write(tmp_path / "a.csv", text)), "video_id")


@pytest.mark.parametrize("value", [True, "1", None, float("inf"), float("nan"), 10**400])
def test_a_value_of_another_type_is_named(value: object) -> None:
    with pytest.raises(DataError, match=r"a.json, x: start must be float, got .*: take the published file"):
        entry({"start": value}, "start", float, "a.json, x")
    assert entry({"start": 3}, "start", float, "") == 3


def test_a_missing_field_and_a_long_value_are_named_shortly() -> None:
    with pytest.raises(DataError, match=r"a.json, x: the field 'b' is missing, it has a"):
        entry({"a": 1}, "b", int, "a.json, x")
    with pytest.raises(DataError, match=r"^x must be int, got 'y{76}\.\.\.: take"):
        typed("y" * 1000, int, "x")


def test_half_a_character_is_named_and_whole_ones_are_kept() -> None:
    assert typed("café 一只猫 🐈", str, "x") == "café 一只猫 🐈"
    with pytest.raises(DataError, match=r"^x must be str, got 'cat .ud83d'"):
        typed("cat \ud83d", str, "x")
    with pytest.raises(DataError, match=r"^x: extra must hold whole characters, .*, got 'cat .ud83d': mend it"):
        to_record("x", video_id="a", split="train", extra=parse_json(r'{"ocr": ["cat \ud83d"]}', "a.json"))
    assert parse_json(r'"\uD83D\uDC08"', "a.json") == "🐈"


def test_an_id_that_cannot_be_one_is_named_with_its_place() -> None:
    with pytest.raises(DataError, match=r"a.json, videos\[3\]: video_id must be a plain name .*, got '../x'"):
        to_record("a.json, videos[3]", video_id="../x", split="train")


def test_a_video_in_two_lists_is_named() -> None:
    assert split_of_each({"train": ["a", "a"], "test": ["b"]}) == {"a": "train", "b": "test"}
    with pytest.raises(DataError, match="video 'a' is in the lists of train and test: mend the lists"):
        split_of_each({"train": ["a"], "test": ["b", "a"]})


def test_a_cell_of_csv_may_be_of_any_length(tmp_path: Path) -> None:
    long = "word " * 60_000
    (tmp_path / "a.csv").write_text(f"video_id,caption\na,{long}\n", encoding="utf-8")
    (row,) = read_rows(AnnotationFile(tmp_path / "a.csv"), "video_id")
    assert row == (2, {"video_id": "a", "caption": long})

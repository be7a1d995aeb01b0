"""A pickle from outside gives plain data, or a line that names what it wanted; it never runs anything."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.core.errors import DataError
from conical.datasets.readers.plain_pickle import load_plain_pickle

PLAIN = {"vid1_0_5": [["a", "cat"], ["un", "café", "一只猫"]], "b": [("x",), {}, []]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back_from_every_protocol(protocol: int) -> None:
    assert load_plain_pickle(pickle.dumps(PLAIN, protocol=protocol), "a.pkl") == PLAIN


def test_strings_of_python_2_are_text_in_utf8_or_else_latin_1() -> None:
    # protocol 0 as Python 2 wrote {'k': ['caf\xc3\xa9']} and {'k': ['caf\xe9']}: S is a string of bytes
    assert load_plain_pickle(b"(dp0\nS'k'\np1\n(lp2\nS'caf\\xc3\\xa9'\np3\nas.", "a.pkl") == {"k": ["café"]}
    assert load_plain_pickle(b"(dp0\nS'k'\np1\n(lp2\nS'caf\\xe9'\np3\nas.", "a.pkl") == {"k": ["café"]}
    # protocol 2: U is a short string of bytes
    assert load_plain_pickle(b"\x80\x02}q\x00U\x01kq\x01]q\x02U\x04caf\xe9q\x03as.", "a.pkl") == {"k": ["café"]}


class _Command:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_command_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "it_ran"
    content = pickle.dumps({"captions": [_Command(marker)]}, protocol=protocol)
    with pytest.raises(DataError, match=rf"a.pkl asks for {os.system.__module__}.system, but only str, list, dict and"):
        load_plain_pickle(content, "a.pkl")
    assert not marker.exists()
    pickle.loads(content)  # the file is as dangerous as the test says
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"(S'true'\niposix\nsystem\n.", "posix.system"),  # the opcode that builds an instance
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"c__builtin__\nunicode\n.", "__builtin__.unicode"),
        (pickle.dumps(collections.OrderedDict(a="b")), "collections.OrderedDict"),
        (pickle.dumps(collections.defaultdict(list)), "collections.defaultdict"),
        (pickle.dumps(b"bytes", protocol=2), "_codecs.encode"),
    ],
)
def test_any_name_from_outside_is_refused(content: bytes, name: str) -> None:
    with pytest.raises(DataError, match=f"a.pkl asks for {name}, but only str, list, dict and tuple"):
        load_plain_pickle(content, "a.pkl")


@pytest.mark.parametrize("value", [1, 2.0, None, True, b"x", {"a"}, frozenset(), bytearray(b"x")])
def test_a_value_of_another_type_is_refused_by_name(value: object) -> None:
    with pytest.raises(
        DataError, match=rf"holds a {type(value).__name__}, but only|asks for \w+.{type(value).__name__}"
    ):
        load_plain_pickle(pickle.dumps({"a": [("b", value)]}), "a.pkl")
    with pytest.raises(DataError, match="holds a int"):
        load_plain_pickle(pickle.dumps({1: "a"}), "a.pkl")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        b".",
        pickle.dumps(PLAIN)[:-5],
        b"]K\x01\x85b.",  # sets the state of a list
        b"K\x01K\x02\x85R.",  # calls a number
        b"\x80\x04\x8c\x01a\x8c\x01b\x81.",
        b"Pid\n.",
        b"\x82\x01.",
        b"h\x05.",
        b"c\x8a\nx\n.",  # a name that is no text
    ],
)
def test_a_broken_pickle_is_named(content: bytes) -> None:
    with pytest.raises(DataError, match=r"a.pkl is not a pickle of plain data \(.*: download it again"):
        load_plain_pickle(content, "a.pkl")


def test_a_memo_number_without_end_costs_no_memory() -> None:
    # LONG_BINPUT 0x7fffffff: the interpreter in C would reserve 32 GB for it
    assert load_plain_pickle(b"\x80\x02]r\xff\xff\xff\x7f.", "a.pkl") == []


def test_a_list_that_holds_itself_ends() -> None:
    circle: list[object] = ["a"]
    circle.append(circle)
    assert load_plain_pickle(pickle.dumps(circle), "a.pkl")[0] == "a"


@given(st.binary(max_size=60))
def test_no_bytes_at_all_do_anything_else(content: bytes) -> None:
    with contextlib.suppress(DataError):
        load_plain_pickle(b"\x80\x04" + content + b".", "a.pkl")


_OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@given(st.lists(st.sampled_from([*_OPCODES, b"\x01", b"a\n", b"1\n", b"\x01a", b"\x00\x00\x00"]), max_size=30))
def test_no_sequence_of_opcodes_does_anything_else(words: list[bytes]) -> None:
    with contextlib.suppress(DataError):
        load_plain_pickle(b"".join(words) + b".", "a.pkl")

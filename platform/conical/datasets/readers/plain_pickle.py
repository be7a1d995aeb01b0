"""Pickles from outside, of which only plain data is taken: str, list, dict, tuple.

A pickle is a program. Ordinary loading runs it with every function of Python at hand, so that a file of captions could
delete a disk. Here no name outside the file can be reached at all, and what the program built is looked through.
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any, NoReturn

from conical.core.errors import DataError

_PLAIN = (str, list, dict, tuple)
# What a wrong program makes the interpreter raise: wrong stack, wrong memo, wrong lengths, bytes that are no text
_WRONG_PROGRAM = (
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    AssertionError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)


def load_plain_pickle(content: bytes, where: str) -> Any:
    """Plain data from a pickle, of Python 2 as well.

    Strings that Python 2 wrote as bytes are read as UTF-8, and as Latin-1 where they are not.

    Args:
        where: name of the file, for messages.

    Returns:
        Nested str, list, dict and tuple.

    Raises:
        DataError: it asks for anything else, which the message names, or it is broken.
    """
    try:
        try:
            data = _load(content, where, encoding="utf-8")
        except UnicodeDecodeError:
            data = _load(content, where, encoding="latin-1")
    except DataError:
        raise
    except _WRONG_PROGRAM as error:
        raise DataError(f"{where} is not a pickle of plain data ({error}): download it again") from error
    _refuse_other_types(data, where)
    return data


# The interpreter that pickle keeps in Python: the one in C reserves memory for any memo number that a file names, so a
# file of twenty bytes could ask for 64 GB
class _PlainUnpickler(pickle._Unpickler):
    where = ""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"{self.where} asks for {module}.{name}, but only str, list, dict and tuple are loaded: "
            "it is not the published file, do not open it elsewhere"
        )


def _load(content: bytes, where: str, *, encoding: str) -> Any:
    unpickler = _PlainUnpickler(io.BytesIO(content), encoding=encoding)
    unpickler.where = where
    return unpickler.load()


def _refuse_other_types(data: Any, where: str) -> None:
    waiting, seen = [data], set()
    while waiting:
        value = waiting.pop()
        if type(value) not in _PLAIN:
            raise DataError(f"{where} holds a {type(value).__name__}, but only str, list, dict and tuple are loaded")
        if isinstance(value, str) or id(value) in seen:  # a list can hold itself
            continue
        seen.add(id(value))
        waiting.extend([*value.keys(), *value.values()] if isinstance(value, dict) else value)

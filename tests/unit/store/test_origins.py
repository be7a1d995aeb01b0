from __future__ import annotations

from pathlib import Path

import pytest

from conical.core.errors import StoreError
from conical.store import FrameStore, read_addresses, write_addresses


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    return FrameStore(tmp_path, recipe={"codec": "raw", "jpeg_quality": 95}, recipe_hash="abc")


def test_a_store_without_addresses_knows_none(store: FrameStore) -> None:
    assert read_addresses(store) == {}


def test_addresses_come_back_and_are_replaced_as_a_whole(store: FrameStore) -> None:
    write_addresses(store, {"b": "x.avi", "a": "in/y.avi"})
    assert read_addresses(store) == {"a": "in/y.avi", "b": "x.avi"}
    write_addresses(store, {"b": "z.avi"})
    assert read_addresses(store) == {"b": "z.avi"}


def test_addresses_change_neither_the_frames_nor_their_hash(store: FrameStore) -> None:
    before = store.content_hash()
    write_addresses(store, {"a": "x.avi"})
    assert (store.content_hash(), store.done()) == (before, frozenset())


def test_a_damaged_file_is_named(store: FrameStore) -> None:
    (store.path / "addresses.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"addresses.parquet cannot be read .*: delete this file and run the step"):
        read_addresses(store)

"""Whatever is wrong at one place of an annotation file, a reader gives records or one line, never another error."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conical.core.errors import DataError
from conical.core.hashing import canonical_json
from conical.datasets.annotations import Annotations
from conical.datasets.readers.didemo import read_didemo
from conical.datasets.readers.msrvtt import read_msrvtt
from conical.datasets.readers.msvd import read_msvd
from conical.datasets.readers.videomind import read_videomind

MSRVTT = {
    "videos": [
        {
            "video_id": "a",
            "url": "https://youtu.be/aaaaaaaaaaa",
            "split": "test",
            "start time": 1.5,
            "end time": 2,
            "category": 3,
        }
    ],
    "sentences": [{"video_id": "a", "caption": "x"}],
}
READERS: list[tuple[Callable[..., Annotations], str, Any]] = [
    (lambda root: read_msrvtt(root, split="full"), "test_videodatainfo.json", MSRVTT),
    (read_msvd, "captions_msvd.json", {"a_1_2": ["x", ["a", "b"]]}),
    (read_didemo, "test_data.json", [{"video": "a_1_2.mov", "description": "x", "times": [[0, 1], [2, 3]]}]),
    (read_videomind, "test.json", [{"video_id": "a", "factual": ["x"], "split": "test", "ocr": {"b": 1}}]),
]
_LEAVES = st.sampled_from([None, True, -1, 10**400, 1.5, float("nan"), "", "../x", "\ud800", "train"])
_NONSENSE = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
)


def _places(content: Any) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (key,)
        yield from ((key, *deeper) for deeper in _places(value))


@pytest.mark.parametrize(("reader", "name", "content"), READERS, ids=[name for _, name, _ in READERS])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(data=st.data())
def test_one_wrong_value_is_named_or_read(
    tmp_path: Path, reader: Callable[..., Annotations], name: str, content: Any, data: st.DataObject
) -> None:
    changed = copy.deepcopy(content)
    *way, last = data.draw(st.sampled_from(list(_places(content))))
    inner = changed
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(_NONSENSE)
    (tmp_path / name).write_text(json.dumps(changed))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}_list.txt").write_text(
            "a_1_2" + ".mov" * (reader is read_didemo) if split == "test" else ""
        )
    with contextlib.suppress(DataError):
        for record in reader(tmp_path).videos:
            # what a manifest is written from
            canonical_json([record.video_id, record.captions, record.extra]).encode()


@pytest.mark.parametrize(("reader", "name", "content"), READERS, ids=[name for _, name, _ in READERS])
def test_the_content_that_is_made_wrong_is_right(
    tmp_path: Path, reader: Callable[..., Annotations], name: str, content: Any
) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}_list.txt").write_text(
            "a_1_2" + ".mov" * (reader is read_didemo) if split == "test" else ""
        )
    assert [record.split for record in reader(tmp_path).videos] == ["test"]

"""Are these the captions that were published? Hashes of the standard lists, video by video.

A published split with two swapped sentences has the right ids and the right counts, and gives other numbers. Beside
each list stands a short hash per video of its captions, in the order of the sorted ids. Case counts; Unicode's
compatible forms, white space and the order of captions do not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("published_captions.json")
_HASH_BYTES = 3  # per video: one altered video in 16 million goes unnoticed


def altered_videos(
    name: str, lists: Mapping[str, Sequence[str]], captions: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Videos whose captions are not the published ones.

    Args:
        lists: published list to its video ids, all of them.
        captions: video id to its captions.

    Returns:
        List to ids, in their order; lists that nothing is known of, or whose captions are all absent, are left out.
    """
    altered = {}
    for list_name, known in _published().get(name, {}).items():
        ids = lists.get(list_name, ())
        if not ids or not any(captions.get(video_id) for video_id in ids):
            continue
        hashes = _split(base64.b64decode(known))
        if len(hashes) != len(ids):
            continue  # another list of that name: its ids are refused elsewhere
        by_id = dict(zip(sorted(ids), hashes, strict=True))
        altered[list_name] = tuple(
            video_id for video_id in ids if caption_hash(captions.get(video_id, ())) != by_id[video_id]
        )
    return altered


def caption_hash(captions: Sequence[str]) -> bytes:
    """Short hash of a video's captions, whatever their order, Unicode form and white space.

    >>> caption_hash(["a dog  runs", "caf\\u00e9"]) == caption_hash(["cafe\\u0301", "a dog runs "])
    True
    """
    plain = sorted(" ".join(unicodedata.normalize("NFKC", caption).split()) for caption in captions)
    return hashlib.sha256("\n".join(plain).encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]


def encode_list(ids: Sequence[str], captions: Mapping[str, Sequence[str]]) -> str:
    """What stands in the file for a list, made from the published annotations."""
    return base64.b64encode(b"".join(caption_hash(captions[video_id]) for video_id in sorted(ids))).decode("ascii")


@cache
def _published() -> dict[str, dict[str, str]]:
    published: dict[str, dict[str, str]] = json.loads(_FILE.read_text(encoding="ascii"))
    return published


def _split(data: bytes) -> list[bytes]:
    return [data[at : at + _HASH_BYTES] for at in range(0, len(data), _HASH_BYTES)]

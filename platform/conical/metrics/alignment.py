"""Which entries are correct for which query, and the refusals that keep a gallery from holding an entry twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require

Ids: TypeAlias = Sequence[str] | Sequence[int] | NDArray[Any]
Positives: TypeAlias = Sequence[Collection[int]] | NDArray[np.integer[Any]]

# what loaders and samplers put in place of an id when they fill up a last batch
_PADDING = (None, "", -1)


def checked_owner(text_video: NDArray[np.integer[Any]] | None, *, num_texts: int, num_videos: int) -> NDArray[np.int64]:
    """The video of each text.

    Args:
        text_video: (text,) columns, or None: text i belongs to video i.

    Returns:
        (text,) columns.

    Raises:
        ValueError: not one existing column per text.
    """
    if text_video is None:
        require(
            num_videos >= num_texts,
            f"without text_video row i belongs to column i, but there are {num_texts} texts and {num_videos} videos: "
            "give text_video",
        )
        return np.arange(num_texts)
    owner = np.asarray(text_video)
    require(
        owner.shape == (num_texts,) and owner.dtype.kind in "iu",
        f"text_video must be {num_texts} integers, one per text, got {owner.dtype} of shape {owner.shape}",
    )
    require(
        bool((owner >= 0).all() and (owner < num_videos).all()),
        f"text_video must be columns 0 to {num_videos - 1}, got {owner.min()} to {owner.max()}",
    )
    return owner.astype(np.int64)


def checked_groups(video_groups: NDArray[Any] | None, *, num_videos: int) -> NDArray[Any]:
    """A label for each video; without any, each video is a group of its own.

    Raises:
        ValueError: not one label per video.
    """
    if video_groups is None:
        return np.arange(num_videos)
    require(
        np.shape(video_groups) == (num_videos,),
        f"video_groups must have one label for each of the {num_videos} videos, got shape {np.shape(video_groups)}",
    )
    return np.asarray(video_groups)


def require_unique_ids(name: str, ids: Ids | None, *, count: int) -> None:
    """Refuse rows that stand for padding, or twice for the same thing: both change every rank.

    Args:
        name: what messages call them.
        ids: one per row, in the order of the rows; None: nothing to check.

    Raises:
        ValueError: another number of ids, an id that means padding (None, "" or -1), or an id twice.

    A sampler that fills its last batch with first entries shows here:

    >>> require_unique_ids("video_ids", ["a", "b", "a"], count=3)
    Traceback (most recent call last):
    ValueError: video_ids must not repeat, got 'a' 2 times (first at row 0): drop the rows that fill up a batch
    """
    if ids is None:
        return
    listed = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    require(len(listed) == count, f"{name} must be one for each of the {count} rows, got {len(listed)}")
    padded = next((row for row, value in enumerate(listed) if value in _PADDING), None)
    if padded is not None:
        raise ValueError(f"{name} must name something, got {listed[padded]!r} at row {padded}: drop the padding")
    value, times = Counter(listed).most_common(1)[0] if listed else (None, 0)
    require(
        times <= 1,
        f"{name} must not repeat, got {value!r} {times} times (first at row {listed.index(value) if times else 0}): "
        "drop the rows that fill up a batch",
    )


def flat_positives(
    positives: Positives | None, *, num_queries: int, num_gallery: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Correct columns one query after the other, and where each query's begin (one more entry than queries).

    Raises:
        ValueError: a query has none, or a column does not exist.
    """
    if positives is None:
        require(
            num_gallery >= num_queries,
            f"without positives row i belongs to column i, but there are {num_queries} rows and {num_gallery} columns: "
            "give positives",
        )
        return np.arange(num_queries), np.arange(num_queries + 1)
    require(
        len(positives) == num_queries,
        f"positives must have one entry for each of the {num_queries} queries, got {len(positives)}",
    )
    if isinstance(positives, np.ndarray) and positives.ndim == 1 and positives.dtype.kind in "iu":
        # one each: no loop, unless to name the query that is wrong
        columns = positives.astype(np.int64)
        if ((columns >= 0) & (columns < num_gallery)).all():
            return columns, np.arange(num_queries + 1)
    # a column named twice is still one column
    entries = [np.unique(np.asarray(_as_columns(entry))) for entry in positives]
    for query, entry in enumerate(entries):
        require(entry.size > 0, f"positives of query {query} are empty: give at least one column, or leave it out")
        require(
            entry.dtype.kind in "iu" and entry[0] >= 0 and entry[-1] < num_gallery,
            f"positives of query {query} must be columns 0 to {num_gallery - 1}, got {entry.tolist()}",
        )
    starts = np.concatenate([[0], np.cumsum([entry.size for entry in entries])])
    return np.concatenate(entries).astype(np.int64), starts


def _as_columns(entry: Any) -> list[Any]:
    return list(entry) if isinstance(entry, Collection) else [entry]

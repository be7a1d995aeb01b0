"""How the captions and clips of a dataset are distributed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.core.options import require
from conical.core.records import SPLITS, VideoRecord
from conical.datasets.checks.leaks import SOURCE_END, SOURCE_START


@dataclass(frozen=True, kw_only=True, eq=False)
class Distribution:
    """Values of one quantity, split by split.

    Args:
        name: what is measured, such as `words a caption`.
        unit: of the values; "" for a count.
        splits: split to values, float64 (n,), n >= 1; splits without a value are left out.
    """

    name: str
    unit: str
    splits: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        require(bool(self.splits), f"distribution {self.name!r} must have a value, got none: leave it out")
        assert all(len(values) for values in self.splits.values())

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={len(values)}" for split, values in self.splits.items())
        return f"Distribution({self.name!r}, {counts})"

    @property
    def values(self) -> NDArray[np.float64]:
        """Of all splits."""
        return np.concatenate(list(self.splits.values()))


def distribution(
    records: Sequence[VideoRecord], measure: Callable[[VideoRecord], Sequence[float]], *, name: str, unit: str = ""
) -> Distribution | None:
    """The values of a quantity over a dataset.

    Args:
        measure: values of a video, any number of them.

    Returns:
        The distribution; None if no video has a value.
    """
    by_split = {
        split: np.array([value for record in records if record.split == split for value in measure(record)], np.float64)
        for split in SPLITS
    }
    kept = {split: values for split, values in by_split.items() if len(values)}
    return Distribution(name=name, unit=unit, splits=kept) if kept else None


def caption_distributions(
    records: Sequence[VideoRecord], *, count_tokens: Callable[[str], int]
) -> tuple[Distribution, ...]:
    """Captions per video, words per caption (separated by white space), tokens per caption.

    Args:
        count_tokens: tokens of a text, start and end marks not counted.

    Returns:
        Those that have a value.
    """
    measures: dict[str, Callable[[VideoRecord], Sequence[float]]] = {
        "captions per video": lambda record: [len(record.captions)],
        "words per caption": lambda record: [len(caption.split()) for caption in record.captions],
        "tokens per caption": lambda record: [count_tokens(caption) for caption in record.captions],
    }
    distributions = (distribution(records, measure, name=name) for name, measure in measures.items())
    return tuple(one for one in distributions if one is not None)


def stated_seconds(record: VideoRecord) -> float | None:
    """How long the annotations say a clip is: by its place in its source, else in its file; None if they do not."""
    start, end = record.extra.get(SOURCE_START), record.extra.get(SOURCE_END)
    if isinstance(start, (int, float)) and isinstance(end, (int, float)):
        return float(end - start)
    return None if record.end_seconds is None else record.end_seconds - record.start_seconds

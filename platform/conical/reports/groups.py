"""Which runs may stand in one table: refuses to put side by side what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conical.core.errors import ProtocolError
from conical.core.options import require
from conical.reports.rows import RunRow

# what rows of one table share, and what a reader calls it
_SHARED = {
    **{name: name for name in ("protocol", "split", "num_queries", "num_gallery")},
    "comparable": "set of queries, gallery and family settings",
}
_MARK_LENGTH = 8


def group_rows(rows: Iterable[RunRow]) -> tuple[tuple[RunRow, ...], ...]:
    """Rows that may stand in one table, in order of first appearance.

    Args:
        rows: of any protocol, split and gallery.

    Returns:
        One group for each protocol, split, number of queries, gallery size and hash of what must be equal.
    """
    groups: dict[tuple[object, ...], list[RunRow]] = {}
    for row in rows:
        groups.setdefault(_comparable(row), []).append(row)
    return tuple(tuple(group) for group in groups.values())


def group_names(groups: Sequence[Sequence[RunRow]]) -> tuple[str, ...]:
    """A name for each group's files: `test_raw_q200_g200`, with the mark of its set where two would share it."""
    firsts = [rows[0] for rows in groups]
    names = [f"{row.split}_{row.protocol}_q{row.num_queries}_g{row.num_gallery}" for row in firsts]
    return tuple(
        f"{name}_{set_mark(row)}" if names.count(name) > 1 else name for name, row in zip(names, firsts, strict=True)
    )


def set_mark(row: RunRow) -> str:
    """The first letters of `comparable`, by which a reader tells sets apart."""
    return row.comparable[:_MARK_LENGTH] or "unknown"


def refuse_mixture(rows: Sequence[RunRow]) -> None:
    """Refuse rows that cannot stand in one table.

    Raises:
        ProtocolError: no row, or different protocols, splits, numbers of queries, gallery sizes, queries, galleries or
            settings of a family.
        ValueError: two rows of one label.
    """
    if not rows:
        raise ProtocolError("a results table needs at least one row, got none")
    for name, told in _SHARED.items():
        values = sorted({str(getattr(row, name)) for row in rows})
        if len(values) > 1:
            raise ProtocolError(
                f"rows of one table must share one {told}, got {', '.join(values)}; "
                "make a table for each (conical.reports.group_rows)"
            )
    labels = [row.label for row in rows]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    require(
        not twice, f"labels of one table must be unique, got {', '.join(twice)} more than once; name the runs apart"
    )


def _comparable(row: RunRow) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _SHARED)

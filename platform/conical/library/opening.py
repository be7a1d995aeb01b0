"""A dataset of the workspace, opened to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conical.core.errors import DataError
from conical.core.options import did_you_mean
from conical.core.records import VideoRecord
from conical.store import DatasetBook, FrameStore, Workspace, read_dataset_book, read_manifest


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """What the workspace holds of a dataset.

    Args:
        folder: its name in the workspace.
        book: what its import counted.
        frames: the frame store that was asked for, else the one with most videos; None: nothing was ingested.
    """

    folder: str
    records: Sequence[VideoRecord] = field(repr=False)
    book: DatasetBook = field(repr=False)
    frames: FrameStore | None = field(repr=False)

    @property
    def root(self) -> Path:
        """Folder that the manifest's addresses are relative to."""
        return Path(self.book.root)


def open_dataset(workspace: Workspace, name: str, *, recipe_hash: str = "") -> DatasetView:
    """Open a dataset by its name.

    Args:
        name: of its folder, or enough of the beginning.
        recipe_hash: frames that are preferred.

    Raises:
        DataError: none or several datasets fit the name.
        StoreError: what is there cannot be read.
    """
    folder = find_folder(workspace, name)
    return DatasetView(
        folder=folder,
        records=read_manifest(workspace.manifest(folder)),
        book=read_dataset_book(workspace.dataset_book(folder)),
        frames=_frame_store(workspace, folder, recipe_hash),
    )


def find_folder(workspace: Workspace, name: str) -> str:
    """The dataset of this name, else the one whose name starts so.

    Raises:
        DataError: none or several fit.
    """
    known = sorted(path.parent.name for path in (workspace.root / "datasets").glob("*/manifest.parquet"))
    matches = [name] if name in known else [folder for folder in known if folder.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if not known:
        raise DataError(f"dataset {name!r} is not in {workspace.root}, which holds none: import it first")
    if matches:
        raise DataError(f"dataset {name!r} fits {len(matches)} folders: give more of one of {', '.join(matches)}")
    hint = did_you_mean(name, known)
    raise DataError(f"dataset {name!r} is not in {workspace.root}: choose one of {', '.join(known)}.{hint}")


def _frame_store(workspace: Workspace, folder: str, recipe_hash: str) -> FrameStore | None:
    stores = [FrameStore.open(card.parent) for card in sorted(workspace.frames(folder, "").glob("*/card.json"))]
    # of equals the one with more frames per video tells more
    return max(
        stores,
        key=lambda store: (
            store.recipe_hash == recipe_hash,
            len(store.video_ids()),
            store.recipe.get("num_frames", 0),
            store.recipe_hash,
        ),
        default=None,
    )

"""How much of a dataset a number rests on: what should be there, and what has frames."""

from __future__ import annotations

from conical.config import Experiment
from conical.core.records import SPLITS, SplitCount
from conical.store import FrameStore, Workspace, read_dataset_book, read_manifest


def split_counts(experiment: Experiment, workspace: Workspace) -> dict[str, SplitCount]:
    """Videos of each split that should be there, and those with frames.

    What should be there is what the import expected, by the annotations and published lists; at least what the
    manifest lists. A file that is missing, cannot be decoded or was never ingested counts the same.
    """
    folder = experiment.dataset.folder
    book = workspace.dataset_book(folder)
    expected = read_dataset_book(book).splits if book.is_file() else {}
    usable = FrameStore.open(workspace.frames(folder, experiment.frames.hash)).video_ids()
    records = read_manifest(workspace.manifest(folder))
    counts = {}
    for split in SPLITS:
        listed = [record.video_id in usable for record in records if record.split == split]
        wanted = max(len(listed), expected[split].expected if split in expected else 0)
        if wanted:
            counts[split] = SplitCount(expected=wanted, found=sum(listed))
    return counts


def completeness_of(counts: dict[str, SplitCount], *, split: str, is_trained: bool) -> dict[str, SplitCount]:
    """The splits that a number depends on: its own; of a trained run also train, and val, which chose the epoch."""
    needed = (split, "train", "val") if is_trained else (split,)
    return {name: counts[name] for name in dict.fromkeys(needed) if name in counts}

"""A dataset of MSR-VTT frames: those that are at hand, with their captions and a source-disjoint val.

The folder has the form of the reader `frames`: captions.json, train.txt, val.txt, and the frames behind a link.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from conical.core.atomic import write_text_atomic
from conical.core.errors import DataError
from conical.datasets.readers.msrvtt import read_msrvtt
from conical.datasets.validation import hold_out

NUM_VAL = 476
_SALT = "conical real frames 1"


def write_dataset(folder: Path, *, frames: Path, annotations: Path, num_captions: int = 20) -> dict[str, int]:
    """Write the folder of the dataset.

    Args:
        folder: made if absent.
        frames: holds a folder of images for each video, named by its id.
        annotations: holds MSR-VTT's official files, zipped or not.
        num_captions: human captions that each training video keeps, the first of them, in [1, 20]; val keeps all.

    Returns:
        Videos by split.

    Raises:
        DataError: there are no frames, or no captions of them.
    """
    held = {path.name for path in frames.iterdir() if path.is_dir()} if frames.is_dir() else set()
    known = [record for record in read_msrvtt(annotations, split="full").videos if record.video_id in held]
    if not known:
        raise DataError(
            f"{frames} holds no folder named by a video of MSR-VTT: give the folder that holds video0 and the like"
        )
    # whatever split the official files have them in: none of 1k-A's test is among them
    records = hold_out([dataclasses.replace(record, split="train") for record in known], count=NUM_VAL, salt=_SALT)
    folder.mkdir(parents=True, exist_ok=True)
    captions = {
        record.video_id: list(record.captions[: num_captions if record.split == "train" else None])
        for record in records
    }
    write_text_atomic(folder / "captions.json", json.dumps(captions, ensure_ascii=False, indent=0))
    counts = {}
    for split in ("train", "val"):
        ids = [record.video_id for record in records if record.split == split]
        write_text_atomic(folder / f"{split}.txt", "".join(f"{video_id}\n" for video_id in ids))
        counts[split] = len(ids)
    link = folder / "frames"
    if not link.is_symlink():
        link.symlink_to(frames.absolute(), target_is_directory=True)
    return counts

"""`scenes`: a generated dataset of real H.264 files with partial human-like captions and the full ground truth.

On disk:

    scenes.json            the card: options and their hash; written last, so its presence means the rest is whole
    annotations.jsonl      a line per clip: video_id, file, split, captions
    videos/<id>.mp4        the clips, two of them broken on purpose
    truth/<id>.json        what happens in the clip, and the facts the language can tell about it
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conical.core.atomic import write_text_atomic
from conical.core.errors import DataError
from conical.core.hashing import canonical_json, stable_hash
from conical.core.options import Options, require
from conical.core.records import SPLITS, VideoRecord
from conical.core.seeds import generator
from conical.datasets.scenes.language import named_facts, true_facts, write_captions
from conical.datasets.scenes.render import write_video
from conical.datasets.scenes.truth import SceneTruth, draw_truth

VERSION = 1  # raised when the same options would give other clips
TRUNCATED_ID = "broken_truncated"
NOT_A_VIDEO_ID = "broken_not_a_video"
_CARD = "scenes.json"
_ANNOTATIONS = "annotations.jsonl"


@dataclass(frozen=True, kw_only=True)
class ScenesOptions(Options):
    """How many clips, and the seed of all of them.

    Args:
        train: clips of the train split, >= 1; the two broken clips come on top.
        val: clips of the val split, >= 1.
        test: clips of the test split, >= 1.
        seed: >= 0.

    Raises:
        ValueError: a value is out of range.
    """

    train: int = 400
    val: int = 100
    test: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for split in SPLITS:
            count = getattr(self, split)
            require(count >= 1, f"scenes.{split} must be >= 1, got {count}")
        require(self.seed >= 0, f"scenes.seed must be >= 0, got {self.seed}")


def generate_scenes(
    root: str | Path,
    options: ScenesOptions,
    *,
    num_processes: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Write the dataset; do nothing where it already is.

    Args:
        root: folder of the dataset.
        options: sizes and seed; the files are a pure function of them.
        num_processes: >= 1; processes that render and encode.
        report: called as `report(done, total)` at the start and after each clip.

    Raises:
        DataError: `root` holds scenes of other options.
        ValueError: `num_processes` is out of range.
    """
    require(num_processes >= 1, f"num_processes must be >= 1, got {num_processes}")
    root = Path(root)
    if _is_there(root, options):
        return
    for folder in ("videos", "truth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    tasks = [(str(root), options.seed, split, index) for split in SPLITS for index in range(getattr(options, split))]
    lines: list[str] = []
    if report:
        report(0, len(tasks))
    with _mapper(num_processes) as run:
        for line in run(_write_clip, tasks):
            lines.append(line)
            if report:
                report(len(lines), len(tasks))
    lines += _write_broken(root, options.seed)
    write_text_atomic(root / _ANNOTATIONS, "".join(f"{line}\n" for line in lines))
    write_text_atomic(root / _CARD, json.dumps(_card(options), indent=2) + "\n")


def read_scenes(root: str | Path) -> list[VideoRecord]:
    """The manifest rows of a generated dataset, in the order of its annotations.

    Args:
        root: folder of the dataset.

    Returns:
        One record per clip, the broken ones included; `uri` is relative to `root`, and `extra["truth"]` holds the
        true facts, each joined by blanks (empty for a broken clip).

    Raises:
        DataError: `root` holds no complete scenes dataset.
    """
    root = Path(root)
    for name in (_CARD, _ANNOTATIONS):
        if not (root / name).is_file():
            raise DataError(f"no scenes dataset at {root}: {name} is missing; generate it first (conical data scenes)")
    rows = [json.loads(line) for line in (root / _ANNOTATIONS).read_text(encoding="utf-8").splitlines()]
    return [
        VideoRecord(
            video_id=row["video_id"],
            uri=row["file"],
            split=row["split"],
            captions=tuple(row["captions"]),
            extra={"truth": row["facts"]},
        )
        for row in rows
    ]


def read_truth(root: str | Path, video_id: str) -> SceneTruth:
    """The full ground truth of one clip.

    Args:
        root: folder of the dataset.
        video_id: a clip that is not broken.

    Raises:
        DataError: the clip has no truth file.
    """
    path = Path(root) / "truth" / f"{video_id}.json"
    if not path.is_file():
        raise DataError(f"no ground truth for {video_id!r}: {path} is missing; broken clips have none")
    return SceneTruth.from_json(json.loads(path.read_text(encoding="utf-8")))


def oracle_recall_at_1(root: str | Path, split: str) -> float:
    """The t2v R@1, in percent, of a scorer that knows every fact: what the captions allow at most.

    The oracle counts the facts of a query that hold in a clip; clips with equal counts share their ranks, so a query
    that k clips satisfy is worth 1/k.

    Args:
        root: folder of the dataset.

    Raises:
        DataError: no scenes dataset at `root`, or no whole clip in the split.
    """
    records = [record for record in read_scenes(root) if record.split == split and record.extra["truth"]]
    if not records:
        raise DataError(f"no whole clip in split {split!r} of {root}; splits are {', '.join(SPLITS)}")
    facts = [true_facts(read_truth(root, record.video_id)) for record in records]
    worth: list[float] = []
    for own, record in enumerate(records):
        for caption in record.captions:
            scores = np.array([len(named_facts(caption) & known) for known in facts])
            worth.append(float(scores[own] == scores.max()) / float((scores == scores.max()).sum()))
    return 100.0 * float(np.mean(worth))


def draw_captions(seed: int, split: str, index: int) -> tuple[str, ...]:
    """The captions of scene number `index` of a split: a pure function of the arguments."""
    return write_captions(draw_truth(seed, split, index), generator(seed, split, index, "captions"))


def _card(options: ScenesOptions) -> dict[str, Any]:
    content = {"version": VERSION, "options": dataclasses.asdict(options)}
    return {"dataset": "scenes", **content, "hash": stable_hash(content)}


def _is_there(root: Path, options: ScenesOptions) -> bool:
    card = root / _CARD
    if not card.is_file():
        return False
    try:
        card_values = json.loads(card.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{card} is not JSON ({error}); delete {root} to generate it anew") from error
    if card_values != _card(options):
        raise DataError(
            f"{root} holds other scenes ({canonical_json(card_values.get('options'))}), asked for "
            f"{canonical_json(options)}; choose another folder or delete this one"
        )
    return True


@contextmanager
def _mapper(num_processes: int) -> Iterator[Callable[..., Iterator[str]]]:
    if num_processes == 1:
        yield map
        return
    # spawn: a fork of a process that runs threads (torch, Ray) can deadlock
    with ProcessPoolExecutor(num_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda function, tasks: pool.map(function, tasks, chunksize=8)


def _write_clip(task: tuple[str, int, str, int]) -> str:
    """Write one clip and its truth; return its line of the annotations."""
    root, seed, split, index = task
    video_id = f"{split}_{index:05d}"
    truth = draw_truth(seed, split, index)
    facts = sorted(" ".join(fact) for fact in true_facts(truth))
    write_video(truth, Path(root) / "videos" / f"{video_id}.mp4")
    content = {**truth.to_json(), "facts": facts}
    (Path(root) / "truth" / f"{video_id}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return _line(video_id, split, captions=draw_captions(seed, split, index), facts=facts)


def _line(video_id: str, split: str, *, captions: tuple[str, ...], facts: list[str]) -> str:
    return canonical_json(
        {"video_id": video_id, "file": f"videos/{video_id}.mp4", "split": split, "captions": captions, "facts": facts}
    )


def _write_broken(root: Path, seed: int) -> list[str]:
    """Two train clips that no reader may accept: one cut short, one that never was a video."""
    whole = (root / "videos" / "train_00000.mp4").read_bytes()
    # the index of an mp4 stands at its end, so a download that stopped half-way has none
    (root / "videos" / f"{TRUNCATED_ID}.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "videos" / f"{NOT_A_VIDEO_ID}.mp4").write_text("<html>404: this clip has gone</html>\n", encoding="utf-8")
    return [
        _line(video_id, "train", captions=draw_captions(seed, "broken", number), facts=[])
        for number, video_id in enumerate((TRUNCATED_ID, NOT_A_VIDEO_ID))
    ]

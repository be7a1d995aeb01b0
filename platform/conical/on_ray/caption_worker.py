"""The actor of the caption stage: one copy of the model that takes units of clips and writes parts of the ledger."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.captioning import (
    Captioner,
    CaptionerCard,
    CaptionOptions,
    CaptionRow,
    CaptionText,
    check_answer,
    create_captioner,
    failed_answer,
)
from conical.core.errors import UserError
from conical.core.records import CaptionRecord, FailedCaption
from conical.core.seeds import derive_seed
from conical.on_ray.pool import Unit, UnitWorker
from conical.runs.supplements import rows_of_clips
from conical.store import CaptionLedger, FrameStore


@dataclass(frozen=True, kw_only=True)
class CaptionUnit:
    """The clips of one task and the keys it has to write.

    Args:
        name: of its files in the ledger; the same whichever of its texts are missing.
        clips: video id, uri and human captions of each.
        missing: keys to write.
    """

    name: str
    clips: tuple[tuple[str, str, tuple[str, ...]], ...]
    missing: tuple[str, ...]

    def to_unit(self) -> Unit:
        """As the pool hands it to a worker."""
        return Unit(name=self.name, payload=json.dumps([self.clips, self.missing]))

    @classmethod
    def of(cls, unit: Unit) -> CaptionUnit:
        """The unit of `to_unit`."""
        clips, missing = json.loads(unit.payload)
        return cls(
            name=unit.name,
            clips=tuple((video_id, uri, tuple(captions)) for video_id, uri, captions in clips),
            missing=tuple(missing),
        )


class CaptionWorker(UnitWorker):
    """Takes units, writes parts, returns counts.

    Args:
        options: captioner, prompts, samples, generation.
        card: the captioner's, worked out by the driver.
        frames: where the frames are.
        ledger: where the texts go.
        num_threads: CPU threads of the model.
    """

    def __init__(
        self,
        *,
        options: CaptionOptions,
        card: CaptionerCard,
        frames: FrameStore,
        ledger: CaptionLedger,
        num_threads: int,
    ) -> None:
        self._options = options
        self._card = card
        self._frames = frames
        self._ledger = ledger
        self._num_threads = num_threads
        self._captioner: Captioner | None = None

    def do(self, unit: Unit) -> Mapping[str, int]:
        """Caption one unit; see `run_captioning` for what the counts mean."""
        return self._caption_unit(CaptionUnit.of(unit))

    def _load(self) -> Captioner:
        """The captioner, built at the first unit so that an error while loading is an answer like any other."""
        if self._captioner is None:
            self._captioner = create_captioner(self._options, self._card)
            # captioners without torch need not wait for its import
            if (torch := sys.modules.get("torch")) is not None:
                torch.set_num_threads(self._num_threads)
        return self._captioner

    def _caption_unit(self, unit: CaptionUnit) -> dict[str, int]:
        captioner = self._load()
        missing = set(unit.missing)
        clips = [self._frames.read(video_id).frames for video_id, _, _ in unit.clips]
        rows_of_each = rows_of_clips(unit.clips, options=self._options, card=self._card, frames=self._frames)
        written: list[CaptionRecord] = []
        failed: list[FailedCaption] = []
        for batch in zip(*rows_of_each, strict=True):
            wanted = [row.key in missing for row in batch]
            if not any(wanted):
                continue
            begun = time.monotonic()
            asked = wanted if self._card.is_row_by_row else [not row.error for row in batch]
            answers = _caption_batch(captioner, batch, clips, asked=asked, seed=self._options.generation.seed)
            seconds = (time.monotonic() - begun) / len(answers)
            for row, answer in answers:
                if row.key in missing and answer.error:
                    failed.append(failure_of(row, answer.error))
                elif row.key in missing:
                    written.append(self._record(row, answer, seconds=seconds))
        self._ledger.write_failures(unit.name, failed, asked=missing)
        self._ledger.write_part(unit.name, written)
        return {
            "ok": len(written),
            "failed": len(failed),
            "truncated": sum(record.truncated for record in written),
        }

    def _record(self, row: CaptionRow, text: CaptionText, *, seconds: float) -> CaptionRecord:
        return CaptionRecord(
            key=row.key,
            video_id=row.video_id,
            prompt_id=row.prompt.id,
            prompt_hash=row.prompt.hash,
            sample=row.sample,
            text=text.text,
            captioner=self._card.name,
            model=self._card.model,
            revision=self._card.revision,
            frame_recipe=self._frames.recipe_hash,
            generation=self._options.generation.to_json(),
            tokens_out=text.tokens_out,
            truncated=text.truncated,
            seconds=seconds,
        )


def failure_of(row: CaptionRow, reason: str) -> FailedCaption:
    """A row that could not be captioned, as the ledger keeps it."""
    return FailedCaption(key=row.key, video_id=row.video_id, prompt_id=row.prompt.id, sample=row.sample, reason=reason)


def _caption_batch(
    captioner: Captioner,
    batch: Sequence[CaptionRow],
    clips: Sequence[NDArray[np.uint8]],
    *,
    asked: Sequence[bool],
    seed: int,
) -> list[tuple[CaptionRow, CaptionText]]:
    """The rows of one prompt and sample that are asked for, with their answers; what goes wrong stays with its row."""
    rows = [row for row, is_asked in zip(batch, asked, strict=True) if is_asked]
    # the very same list of arrays for each prompt lets the captioner share its work on the videos
    wanted = [clip for clip, is_asked in zip(clips, asked, strict=True) if is_asked]
    return list(zip(rows, _ask(captioner, rows, wanted, seed=seed), strict=True))


def _ask(
    captioner: Captioner, rows: Sequence[CaptionRow], clips: list[NDArray[np.uint8]], *, seed: int
) -> list[CaptionText]:
    seeds = [derive_seed(seed, row.key) for row in rows]
    try:
        answers = list(captioner.caption(clips, [row.text for row in rows], seeds=seeds))
        if len(answers) != len(rows):
            raise ValueError(f"the captioner gave {len(answers)} answers for {len(rows)} rows")
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - a captioner may be anyone's code; the job goes on without the row
        if len(rows) == 1:
            return [failed_answer(f"{type(error).__name__}: {error}")]
        # one by one finds the row that broke the batch; it breaks it again in a re-run, so the texts stay the same
        return [
            text for row, clip in zip(rows, clips, strict=True) for text in _ask(captioner, [row], [clip], seed=seed)
        ]
    return [check_answer(answer) for answer in answers]

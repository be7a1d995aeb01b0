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
    create_captioner,
)
from conical.core.errors import UserError
from conical.core.hashing import stable_hash
from conical.core.records import CaptionRecord, Failure
from conical.core.seeds import derive_seed
from conical.on_ray.pool import Unit, UnitWorker
from conical.runs.supplements import rows_of_clips
from conical.store import CaptionLedger, FrameStore


@dataclass(frozen=True, kw_only=True)
class CaptionUnit:
    """The clips of one task and the keys it has to write."""

    clips: tuple[tuple[str, str, tuple[str, ...]], ...]  # video_id, uri, human captions
    missing: tuple[str, ...]

    def to_unit(self) -> Unit:
        """As the pool hands it to a worker; its name is that of the part it writes."""
        return Unit(name=_part_name(self.missing), payload=json.dumps([self.clips, self.missing]))

    @classmethod
    def of(cls, unit: Unit) -> CaptionUnit:
        """The unit of `to_unit`."""
        clips, missing = json.loads(unit.payload)
        return cls(
            clips=tuple((video_id, uri, tuple(captions)) for video_id, uri, captions in clips), missing=tuple(missing)
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
        uris = {video_id: uri for video_id, uri, _ in unit.clips}
        rows_a_clip = rows_of_clips(unit.clips, options=self._options, card=self._card, frames=self._frames)
        written: list[CaptionRecord] = []
        failures: list[Failure] = []
        for batch in zip(*rows_a_clip, strict=True):
            if missing.isdisjoint(row.key for row in batch):
                continue
            begun = time.monotonic()
            texts = _caption_batch(captioner, batch, clips, seed=self._options.generation.seed)
            seconds = (time.monotonic() - begun) / len(batch)
            for row, text in zip(batch, texts, strict=True):
                if row.key in missing:
                    written.append(self._record(row, text, seconds=seconds))
                    failures += [_failure(row, text, uri=uris[row.video_id])] if text.error else []
        # failures first: a death in between repeats the unit, while a ledger with the rows would not
        if failures:
            self._ledger.write_failures(_part_name(unit.missing), failures)
        self._ledger.write_part(_part_name(unit.missing), written)
        return {
            "ok": len(written) - len(failures),
            "failed": len(failures),
            "truncated": sum(record.truncated for record in written),
        }

    def _record(self, row: CaptionRow, text: CaptionText, *, seconds: float) -> CaptionRecord:
        return CaptionRecord(
            key=row.key,
            video_id=row.video_id,
            prompt_id=row.prompt.id,
            prompt_hash=row.prompt.hash,
            sample=row.sample,
            text="" if text.error else text.text,
            status="caption_failed" if text.error else "ok",
            captioner=self._card.name,
            model=self._card.model,
            revision=self._card.revision,
            frame_recipe=self._frames.recipe_hash,
            generation=self._options.generation.to_json(),
            tokens_out=text.tokens_out,
            truncated=text.truncated and not text.error,
            seconds=seconds,
        )


def _part_name(missing: Sequence[str]) -> str:
    # from the keys, so that a repeated unit replaces its own part
    return f"captions-{stable_hash(sorted(missing))}"


def _failure(row: CaptionRow, text: CaptionText, *, uri: str) -> Failure:
    where = f"prompt {row.prompt.id}, sample {row.sample}"
    return Failure(
        video_id=row.video_id, uri=uri, stage="caption", kind="caption_failed", message=f"{where}: {text.error}"
    )


def _caption_batch(
    captioner: Captioner, batch: Sequence[CaptionRow], clips: list[NDArray[np.uint8]], *, seed: int
) -> list[CaptionText]:
    """Texts of one prompt and sample for all clips of a unit, one per row; what goes wrong stays with its row."""
    asked = [number for number, row in enumerate(batch) if not row.error]
    # the very same list of arrays for each prompt lets the captioner share its work on the videos
    texts = _ask(captioner, [batch[n] for n in asked], [clips[n] for n in asked], seed=seed) if asked else []
    answers = dict(zip(asked, texts, strict=True))
    return [_checked(answers[n]) if n in answers else _error(row.error) for n, row in enumerate(batch)]


def _ask(
    captioner: Captioner, rows: Sequence[CaptionRow], clips: list[NDArray[np.uint8]], *, seed: int
) -> list[CaptionText]:
    seeds = [derive_seed(seed, row.key) for row in rows]
    try:
        texts = captioner.caption(clips, [row.text for row in rows], seeds=seeds)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - a captioner may be anyone's code; the job goes on without the row
        if len(rows) == 1:
            return [_error(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")]
        # one by one finds the row that broke the batch; it breaks it again in a re-run, so the texts stay the same
        return [
            text for row, clip in zip(rows, clips, strict=True) for text in _ask(captioner, [row], [clip], seed=seed)
        ]
    assert len(texts) == len(rows), f"captioner gave {len(texts)} texts for {len(rows)} rows"
    return texts


def _checked(text: CaptionText) -> CaptionText:
    return text if text.error or text.text.strip() else _error("the captioner gave an empty text")


def _error(message: str) -> CaptionText:
    return CaptionText(text="", tokens_out=0, truncated=False, error=message)

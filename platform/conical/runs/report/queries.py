"""Choose queries whose rank changed between runs, and collect what is needed to look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from conical.engine.source import DataSource
from conical.reports import (
    DIRECTIONS,
    BrowserView,
    Clip,
    ErrorBrowser,
    Hit,
    Outcome,
    QueryCase,
    across_ranks,
    most_changed,
)
from conical.runs.report.methods import Method, ReportedRun, same_seed
from conical.store import EvaluationRecord

_HITS = 3
_CASES = 12
# a strip takes some 23 kB of the page at 112 px, measured on 20 real clips: the page stays under 6 MB
_MAX_CLIPS = 160


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionScores:
    """One direction of an evaluation: a row per query.

    Args:
        scores: (query, item): items are videos in t2v and, in v2t, the caption groups of videos by their best caption.
        ranks: (query,) 1-based.
        correct: (query,) column of the correct item.
        query_videos: the query's own video.
        query_texts: the query, or in v2t the first caption of the query.
        item_videos: video of each item.
        item_text: caption that is shown for (query, item); empty in t2v.
    """

    scores: NDArray[np.float32]
    ranks: NDArray[np.float64]
    correct: NDArray[np.int64]
    query_videos: Sequence[str]
    query_texts: Sequence[str]
    item_videos: Sequence[str]
    item_text: Callable[[int, int], str]

    def outcome(self, query: int, label: str) -> Outcome:
        """Rank and first hits of one query."""
        order = np.argsort(-self.scores[query], kind="stable")[:_HITS]
        hits = tuple(
            Hit(
                video_id=self.item_videos[int(item)],
                score=float(self.scores[query, item]),
                is_correct=bool(item == self.correct[query]),
                text=self.item_text(query, int(item)),
            )
            for item in order
        )
        return Outcome(label=label, rank=float(self.ranks[query]), hits=hits)


def direction_scores(scored: EvaluationRecord, direction: str) -> DirectionScores:
    """Read one direction off a stored evaluation.

    Args:
        scored: with scores as they are, so that both directions come from one matrix.
        direction: `t2v` or `v2t`.
    """
    if direction == "t2v":
        return DirectionScores(
            scores=scored.similarity,
            ranks=scored.ranks_t2v,
            correct=scored.text_video,
            query_videos=[scored.video_ids[column] for column in scored.text_video],
            query_texts=scored.texts,
            item_videos=scored.video_ids,
            item_text=lambda *_: "",
        )
    videos, group = np.unique(scored.text_video, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(videos)))
    own_texts = np.split(order, starts[1:])
    by_text = scored.similarity.T[videos]
    names = [scored.video_ids[column] for column in videos]

    def best_caption(query: int, item: int) -> str:
        texts = own_texts[item]
        return scored.texts[int(texts[np.argmax(by_text[query, texts])])]

    return DirectionScores(
        scores=np.maximum.reduceat(by_text[:, order], starts, axis=1),
        ranks=scored.ranks_v2t,
        correct=np.arange(len(videos)),
        query_videos=names,
        query_texts=[scored.texts[int(texts[0])] for texts in own_texts],
        item_videos=names,
        item_text=best_caption,
    )


def build_browser(
    pairs: Sequence[tuple[Method, Method]],
    best: ReportedRun,
    source: DataSource,
    *,
    split: str,
    protocol: str,
) -> ErrorBrowser | None:
    """Views of each pair and of the best run alone, in both directions.

    Args:
        pairs: methods scored on the same queries; of several seeds the lowest common one is shown.
        source: frames, captions and supplements.

    Returns:
        None where nothing was scored.
    """
    chosen: list[tuple[ReportedRun, ReportedRun | None]] = [*(same_seed(a, b) for a, b in pairs), (best, None)]
    views = [
        _view(run, against, direction, split=split, protocol=protocol)
        for run, against in chosen
        for direction in DIRECTIONS
        if run.scored(split, protocol) is not None
    ]
    if not views:
        return None
    views = _within_budget(views)
    wanted = sorted({video_id for view in views for case in view.cases for video_id in case.clip_ids()})
    return ErrorBrowser(views=tuple(views), clips=_clips(wanted, source, split))


def _view(run: ReportedRun, against: ReportedRun | None, direction: str, *, split: str, protocol: str) -> BrowserView:
    own = _scores(run, direction, split, protocol)
    other = None if against is None else _scores(against, direction, split, protocol)
    if other is None:
        queries, change = across_ranks(own.ranks, count=_CASES), np.zeros(len(own.ranks))
    else:
        queries = most_changed(own.ranks, other.ranks, count=_CASES)
        change = own.ranks - other.ranks
    cases = [
        QueryCase(
            text=own.query_texts[query],
            video_id=own.query_videos[query],
            outcome=own.outcome(query, run.label),
            against=None if other is None or against is None else other.outcome(query, against.label),
        )
        for query in map(int, queries)
    ]
    return BrowserView(
        label=run.label,
        against=None if against is None else against.label,
        direction=direction,
        split=split,
        protocol=protocol,
        cases=tuple(cases),
        num_queries=len(own.ranks),
        num_lost=int((change > 0).sum()),
        num_gained=int((change < 0).sum()),
    )


def _scores(run: ReportedRun, direction: str, split: str, protocol: str) -> DirectionScores:
    scored = run.scored(split, protocol)
    assert scored is not None, (run.label, split, protocol)
    return direction_scores(scored, direction)


def _within_budget(views: Sequence[BrowserView]) -> list[BrowserView]:
    """Keep the most telling cases of every view while all together show at most `_MAX_CLIPS` videos."""
    kept: list[set[int]] = [set() for _ in views]
    clips: frozenset[str] = frozenset()
    for turn in zip_longest(*(_most_telling(view) for view in views)):
        for number, place in enumerate(turn):
            needed = clips if place is None else clips | views[number].cases[place].clip_ids()
            if place is not None and len(needed) <= _MAX_CLIPS:
                clips = needed
                kept[number].add(place)
    return [
        replace(view, cases=tuple(case for place, case in enumerate(view.cases) if place in places))
        for view, places in zip(views, kept, strict=True)
    ]


def _most_telling(view: BrowserView) -> Iterator[int]:
    """Places in `cases`, from both ends inwards: a view has its extremes there."""
    places = list(range(len(view.cases)))
    while places:
        yield places.pop(0)
        if places:
            yield places.pop()


def _clips(video_ids: Sequence[str], source: DataSource, split: str) -> dict[str, Clip]:
    captions = {record.video_id: record.captions for record in source.records(split)}
    supplements = source.supplements()
    store = source.frame_store
    return {
        video_id: Clip(
            video_id=video_id,
            captions=captions[video_id],
            # one sample of each prompt is enough to see what it adds
            supplements=tuple((prompt, texts[0]) for prompt, texts in supplements.get(video_id, {}).items()),
            filmstrip=store.read(video_id).frames,
        )
        for video_id in video_ids
    }

"""What choices are made on: never the test split.

Early stopping, the search, the share of the supplements in a gallery: each takes a `SelectionSet`, and there is none of
test. So a number of test cannot have been chosen on test, whatever a config or a caller asks for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import ProtocolError
from conical.engine.embedding import EvaluationSet
from conical.engine.options import EvaluateOptions
from conical.metrics import EvaluationName, metric_name, parse_metric_name, rank_queries
from conical.models.dual_encoder import DualEncoder
from conical.store import RankedQueries


@dataclass(frozen=True, kw_only=True)
class SelectionSet(EvaluationSet):
    """An evaluation set that may be chosen on.

    Raises:
        ProtocolError: it is of the test split.
    """

    def __post_init__(self) -> None:
        refuse_test(self.split)
        super().__post_init__()

    @classmethod
    def of(cls, data: EvaluationSet) -> SelectionSet:
        """The same queries and gallery.

        Raises:
            ProtocolError: they are of the test split.
        """
        return cls(**{item.name: getattr(data, item.name) for item in dataclasses.fields(EvaluationSet)})


def refuse_test(split: str) -> None:
    """Refuse to choose anything on the test split.

    Raises:
        ProtocolError: the split is `test`.
    """
    if split == "test":
        raise ProtocolError(
            "a choice cannot be made on split 'test': choose on val; test is scored afterwards, for what was chosen"
        )


def refuse_test_metric(metric: str) -> None:
    """Refuse a metric of the test split as the one that chooses.

    Raises:
        ProtocolError: it is of `test`.
        ValueError: it is no metric's name.
    """
    refuse_test(parse_metric_name(metric).split)


@dataclass(frozen=True, kw_only=True)
class ValScore:
    """One scoring of the selection set.

    Args:
        values: full metric names and their values.
        ranked: ranks in the direction that the choice is made by; None where nobody asks for them.
    """

    values: dict[str, float]
    ranked: RankedQueries | None = None


def score_selection(encoder: DualEncoder, data: SelectionSet, options: EvaluateOptions, *, metric: str) -> ValScore:
    """Score a model on the selection set under `raw`, and keep the ranks by the direction of a metric.

    Args:
        metric: full name of the metric that is selected on.

    Raises:
        ProtocolError: the metric or the set is of the test split.
    """
    refuse_test(data.split)
    refuse_test_metric(metric)
    from conical.engine.scorer import Scorer  # it chooses with this module, too

    was_training = encoder.training
    plain = dataclasses.replace(options, protocols=("raw",), families=())
    scores = Scorer(encoder, plain, sets={data.split: data}).rank(EvaluationName(split=data.split), has_intervals=False)
    encoder.train(was_training)
    directions = scores.metrics.directions()
    direction = parse_metric_name(metric).direction
    groups = data.text_video if direction == "t2v" else np.unique(data.text_video)
    return ValScore(
        values={
            metric_name(data.split, "raw", name, short): value
            for name, found in directions.items()
            for short, value in found.values().items()
        },
        ranked=RankedQueries(ranking=directions[direction].ranking, groups=groups),
    )


@dataclass(frozen=True, kw_only=True)
class FusionChoice:
    """The chosen share of the supplements in a gallery.

    Args:
        weight: the share, in [0, 1].
        weights: all that were tried.
        recalls: t2v R@1 of each on the selection set, percent.
        split: what it was chosen on.
    """

    weight: float
    weights: tuple[float, ...]
    recalls: tuple[float, ...]
    split: str


def choose_fusion_weight(
    data: SelectionSet, *, scores_at: Callable[[float], NDArray[np.float32]], weights: Sequence[float]
) -> FusionChoice:
    """Try each weight on the selection set and take the one with the highest t2v R@1.

    R@1 whatever the metric that selects epochs: the weight is a setting of the gallery, not of the training.

    Args:
        data: the selection set that is scored.
        scores_at: (text, video) scores at a weight.
        weights: in [0, 1].

    Returns:
        The choice; of equal recalls the one with the lower mean rank, of equal ranks the smaller weight.

    Raises:
        ProtocolError: the set is of the test split.
    """
    refuse_test(data.split)
    tried = []
    for weight in sorted(set(weights)):
        ranking = rank_queries(scores_at(weight), data.text_video)
        tried.append((100 * float(ranking.hits(1).mean()), -float(ranking.values().mean()), -weight))
    return FusionChoice(
        weight=-max(tried)[2],
        weights=tuple(-entry[2] for entry in tried),
        recalls=tuple(entry[0] for entry in tried),
        split=data.split,
    )

"""Choices are made on val; whoever brings the test split to one is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conical.core.errors import ProtocolError
from conical.engine.embedding import EvaluationSet, cosines
from conical.engine.loop import train
from conical.engine.objective import Objective
from conical.engine.options import EvaluateOptions, OptimOptions
from conical.engine.protocols.captioned_gallery import fuse_gallery
from conical.engine.selection import SelectionSet, choose_fusion_weight, refuse_test_metric, score_selection
from conical.losses import LossOptions
from unit.engine.engine_factory import batch_plan

REFUSAL = "a choice cannot be made on split 'test': choose on val; test is scored afterwards, for what was chosen"


def evaluation_set(split: str, num_videos: int = 2, text_video=(0, 1)) -> EvaluationSet:
    return EvaluationSet(
        split=split,
        video_ids=tuple(f"v{number}" for number in range(num_videos)),
        frames=np.random.default_rng(0).integers(0, 256, (num_videos, 2, 32, 32, 3), np.uint8),
        texts=tuple((f"text {number}",) for number in range(len(text_video))),
        text_video=np.array(text_video),
    )


def fused(text, frames, supplements):
    return lambda weight: cosines(text, fuse_gallery(frames, supplements, weight=weight))


def test_there_is_no_selection_set_of_test() -> None:
    assert SelectionSet.of(evaluation_set("val")).video_ids == ("v0", "v1")
    with pytest.raises(ProtocolError, match=REFUSAL):
        SelectionSet.of(evaluation_set("test"))


def test_a_metric_of_test_chooses_nothing() -> None:
    refuse_test_metric("val/raw/t2v/R1")
    for metric in ("test/raw/t2v/R1", "test-leak-free/raw/t2v/R1"):
        with pytest.raises(ProtocolError, match=REFUSAL):
            refuse_test_metric(metric)


def test_the_loop_refuses_to_stop_early_by_test(small_encoder) -> None:
    with pytest.raises(ProtocolError, match=REFUSAL):
        train(
            Objective(small_encoder, LossOptions()),
            batch_plan(),
            OptimOptions(epochs=1, batch_size=4),
            score_val=lambda: pytest.fail("nothing may be scored"),
            select_metric="test/raw/t2v/R1",
            report=lambda _: None,
        )


@pytest.mark.parametrize(("split", "metric"), [("test", "val/raw/t2v/R1"), ("val", "test/raw/t2v/R1")])
def test_scoring_for_a_choice_refuses_test(small_encoder, split: str, metric: str) -> None:
    with pytest.raises(ProtocolError, match=REFUSAL):
        score_selection(small_encoder, evaluation_set(split), EvaluateOptions(), metric=metric)


@pytest.mark.parametrize(("direction", "groups"), [("t2v", [0, 0, 1]), ("v2t", [0, 1]), ("v2t_any", [0, 1])])
def test_the_ranks_of_the_direction_that_is_selected_on_are_kept(small_encoder, direction: str, groups) -> None:
    data = SelectionSet.of(evaluation_set("val", text_video=(0, 0, 1)))
    options = EvaluateOptions(num_resamples=100)
    scored = score_selection(small_encoder, data, options, metric=f"val/raw/{direction}/R1")
    assert scored.ranked is not None
    assert scored.ranked.groups.tolist() == groups
    recall = scored.values[f"val/raw/{direction}/R1"]
    assert recall == pytest.approx(100 * scored.ranked.ranking.hits(1).mean())


def unit(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=-1)


def test_the_weight_with_the_highest_recall_on_val_is_chosen() -> None:
    # frames are swapped against their texts, supplements are right: only enough of them put both first
    text, frames = unit((1.0, 0.0), (0.0, 1.0)), unit((0.0, 1.0), (1.0, 0.0))
    data = SelectionSet.of(evaluation_set("val"))
    found = choose_fusion_weight(data, scores_at=fused(text, frames, text), weights=(0.9, 0.0, 0.4, 0.6))
    # 0.9 is as good as 0.6: the smaller share stays nearer to the frames
    assert found.weight == 0.6
    assert found.weights == (0.0, 0.4, 0.6, 0.9)
    assert found.recalls == (0.0, 0.0, 100.0, 100.0)
    assert found.split == "val"


def test_of_equal_recalls_the_lower_mean_rank_decides() -> None:
    text = unit((1.0, 0.0, 0.0))
    # the own video is third by its frames and second with its supplement, never first
    frames = unit((0.0, 0.0, 1.0), (1.0, 0.1, 0.0), (0.2, 1.0, 0.0))
    supplements = torch.stack([unit((0.6, 0.0, 0.8))[0], torch.zeros(3), torch.zeros(3)])
    data = SelectionSet.of(evaluation_set("val", num_videos=3, text_video=(0,)))
    found = choose_fusion_weight(data, scores_at=fused(text, frames, supplements), weights=(0.0, 1.0))
    assert found.recalls == (0.0, 0.0)
    assert found.weight == 1.0


def test_a_weight_is_not_chosen_on_test() -> None:
    ones = unit((1.0, 0.0), (0.0, 1.0))
    with pytest.raises(ProtocolError, match=REFUSAL):
        choose_fusion_weight(evaluation_set("test"), scores_at=fused(ones, ones, ones), weights=(0.0,))


def test_fusion_is_the_weighted_mean_at_unit_length() -> None:
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(5, 4))
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    supplements = rng.normal(size=(5, 4))
    supplements[3] = 0
    for weight in (0.0, 0.3, 1.0):
        found = fuse_gallery(torch.from_numpy(frames), torch.from_numpy(supplements), weight=weight).numpy()
        for video in range(5):
            mixed = (1 - weight) * frames[video] + weight * supplements[video] if video != 3 else frames[3]
            np.testing.assert_allclose(found[video], mixed / np.linalg.norm(mixed), atol=1e-12)

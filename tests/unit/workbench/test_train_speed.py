"""The benchmark of training compares steps that agree, and says all that its pages need. No time is asserted."""

from __future__ import annotations

import sys

import pytest
import torch

from conical.models.dual_encoder import build_dual_encoder
from conical.video.transform import rotate_and_flip
from conical.workbench.bench.plain_train import plain_copies
from conical.workbench.bench.train_memory import StepCase, bench_train_memory, measure_in_child, memory_page
from conical.workbench.bench.train_models import PAIR, TINY, random_batch, write_train_model
from conical.workbench.bench.train_speed import bench_train, interleaved, median_quotient, train_page


def test_the_steps_agree_and_the_page_shows_each_ratio():
    result = bench_train(TINY, rows=3, frames=2, rounds=1, steps=2)
    assert result["what"] == "3 rows of 2 frames of 64 px, captions of 10 words, 1 rounds"
    assert all(value > 0 for value in (*result["seconds"].values(), *result["ratios"].values()))
    page = train_page({"tiny": result, "other": {**result, "ratios": {}}})
    for what, value in result["ratios"].items():
        assert f"| {what} | {value:.3f} |  |" in page


def test_the_plain_copies_are_ours():
    batch = random_batch(rows=3, frames=2, size=20)
    assert torch.equal(plain_copies(batch), rotate_and_flip(batch.frames, degrees=batch.degrees, flip=batch.flip))


def test_a_pair_of_towers_is_written_and_read(tmp_path):
    encoder = build_dual_encoder(write_train_model(PAIR, tmp_path))
    assert encoder.image_size_px == 224
    assert encoder.clip.visual.trunk.num_features == 1280


def test_each_way_is_timed_once_a_round_after_a_warm_up():
    calls = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {way: len(values) for way, values in times.items()} == {"a": 2, "b": 2}
    assert median_quotient([1.0, 4.0, 9.0], [1.0, 2.0, 1.0]) == 2.0


def test_a_step_is_measured_in_a_process_of_its_own():
    values = {"loss": "ceo", "rows": 4, "frames": 2, "chunk_size": 2, "has_checkpoints": True}
    (found,) = bench_train_memory([(TINY, values)])
    assert found["seconds"] > 0
    assert 100 < found["peak_mb"] < 4000  # Python with torch alone takes more than the first
    how = "chunks of 2 rows, activations computed again"
    assert f"| tiny CLIP, ceo, 4 rows of 2 frames | {how} | {found['peak_mb'] / 1e3:.2f} |" in memory_page([found])


def test_a_step_that_fails_says_how(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"the step StepCase\(.*rows=4.*\) ended with 1"):
        measure_in_child(StepCase(model="tiny-clip", weights="", loss="ceo", rows=4, frames=2), num_threads=1)

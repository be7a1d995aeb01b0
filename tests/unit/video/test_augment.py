"""Rotation and flip on images small enough to do by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from conical.video import transform
from conical.video.augment import AugmentOptions
from conical.video.transform import rotate_and_flip


def clip(pixels):
    """One clip of one grey frame as (1, 1, h, w, 3)."""
    return torch.tensor(pixels, dtype=torch.uint8)[None, None, :, :, None].expand(1, 1, -1, -1, 3).contiguous()


def turned(pixels, *, degrees=0.0, flip=False):
    frames = rotate_and_flip(clip(pixels), degrees=torch.tensor([degrees]), flip=torch.tensor([flip]))
    return frames[0, 0, :, :, 0].tolist()


def test_no_angle_and_no_flip_change_nothing():
    assert turned([[1, 2], [3, 4]]) == [[1, 2], [3, 4]]


def test_a_flip_mirrors_left_and_right():
    assert turned([[1, 2], [3, 4]], flip=True) == [[2, 1], [4, 3]]


def test_a_quarter_turn_is_counter_clockwise():
    # the top right corner goes to the top left
    assert turned([[1, 2], [3, 4]], degrees=90.0) == [[2, 4], [1, 3]]


def test_the_flip_comes_after_the_turn():
    assert turned([[1, 2], [3, 4]], degrees=90.0, flip=True) == [[4, 2], [3, 1]]


def sampled_slowly(frame, *, degrees, flip):
    """Bilinear rotation of one (size, size, 3) frame in float64, pixel by pixel; outside of it the edge repeats."""
    size = len(frame)
    middle = (size - 1) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    out = np.empty(frame.shape)
    for row in range(size):
        for column in range(size):
            right, down = column - middle, row - middle
            if flip:
                right = -right
            # where the pixel was before a counter-clockwise turn; y points down
            x = min(max(middle + cos * right - sin * down, 0.0), size - 1)
            y = min(max(middle + sin * right + cos * down, 0.0), size - 1)
            left, top = int(x), int(y)
            after, below = min(left + 1, size - 1), min(top + 1, size - 1)
            upper = frame[top, left] * (left + 1 - x) + frame[top, after] * (x - left)
            lower = frame[below, left] * (left + 1 - x) + frame[below, after] * (x - left)
            out[row, column] = upper * (top + 1 - y) + lower * (y - top)
    return out


@pytest.mark.parametrize("size", [1, 7, 16])
def test_the_copy_is_the_bilinear_rotation_of_each_frame_to_the_nearest_level(size):
    frames = torch.randint(0, 256, (4, 2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    degrees, flip = torch.tensor([-15.0, 7.3, 90.0, 179.0]), torch.tensor([False, True, True, False])
    moved = rotate_and_flip(frames, degrees=degrees, flip=flip)
    assert moved.shape == frames.shape
    assert moved.dtype == torch.uint8
    for number in range(4):
        for frame in range(2):
            wanted = sampled_slowly(
                frames[number, frame].numpy().astype(np.float64),
                degrees=float(degrees[number]),
                flip=bool(flip[number]),
            )
            # half a level, and what float32 loses in the coordinates
            assert np.abs(moved[number, frame].numpy() - wanted).max() < 0.51


@pytest.mark.parametrize("size", [31, 64, 224])
def test_clips_that_do_not_turn_are_exact_at_the_sizes_that_models_take(size):
    frames = torch.randint(0, 256, (2, 1, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    moved = rotate_and_flip(frames, degrees=torch.zeros(2), flip=torch.tensor([True, False]))
    assert torch.equal(moved[0], frames[0].flip(2))
    assert torch.equal(moved[1], frames[1])


def test_a_clip_does_not_depend_on_those_beside_it_nor_on_threads(monkeypatch):
    generator = torch.Generator().manual_seed(5)
    frames = torch.randint(0, 256, (5, 3, 9, 9, 3), dtype=torch.uint8, generator=generator)
    degrees, flip = torch.tensor([-15.0, -3.0, 0.0, 5.0, 14.0]), torch.tensor([True, False, True, False, True])
    together = rotate_and_flip(frames, degrees=degrees, flip=flip)
    alone = [
        rotate_and_flip(frames[row : row + 1], degrees=degrees[row : row + 1], flip=flip[row : row + 1])
        for row in range(5)
    ]
    assert torch.equal(together, torch.cat(alone))
    # two clips at once, then the fifth in room for two
    monkeypatch.setattr(transform, "_NUMBERS_AT_ONCE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert torch.equal(together, rotate_and_flip(frames, degrees=degrees, flip=flip))


def test_all_frames_of_a_clip_move_alike_and_clips_apart():
    frames = torch.arange(2 * 3 * 4 * 4 * 3, dtype=torch.uint8).view(2, 3, 4, 4, 3)
    moved = rotate_and_flip(frames, degrees=torch.zeros(2), flip=torch.tensor([True, False]))
    assert torch.equal(moved[0], frames[0].flip(2))
    assert torch.equal(moved[1], frames[1])


def test_corners_from_outside_repeat_the_edge():
    moved = rotate_and_flip(
        torch.full((1, 1, 8, 8, 3), 200, dtype=torch.uint8), degrees=torch.tensor([45.0]), flip=torch.tensor([False])
    )
    assert (moved == 200).all()


def test_draws_stay_in_range_and_depend_on_the_generator_alone():
    options = AugmentOptions(rotation_degrees=30.0, flip_probability=0.25)
    draws = [options.draw(np.random.default_rng(seed)) for seed in range(2000)]
    assert max(abs(angle) for angle, _ in draws) <= 30.0
    assert np.mean([flip for _, flip in draws]) == pytest.approx(0.25, abs=0.04)  # four standard errors
    assert draws[5] == options.draw(np.random.default_rng(5))


def test_all_stored_frames_are_taken_unless_a_number_is_given():
    rng = np.random.default_rng(0)
    assert AugmentOptions().draw_positions(rng, num_stored=4) == (0, 1, 2, 3)
    assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn
    assert AugmentOptions(num_frames=4).draw_positions(rng, num_stored=4) == (0, 1, 2, 3)
    drawn = [AugmentOptions(num_frames=2).draw_positions(rng, num_stored=6) for _ in range(60)]
    assert {first for first, _ in drawn} == {0, 1, 2}
    assert {second for _, second in drawn} == {3, 4, 5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rotation_degrees": 200.0}, r"rotation_degrees must be in \[0, 180\], got 200"),
        ({"flip_probability": -0.1}, r"flip_probability must be in \[0, 1\], got -0.1"),
        ({"num_frames": -1}, "num_frames must be >= 0, got -1"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        AugmentOptions(**values)

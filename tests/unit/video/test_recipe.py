from __future__ import annotations

import pytest

from conical.video import FrameRecipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_frames": 0}, "num_frames must be >= 1, got 0"),
        ({"size": 4}, "size must be from 8 to 4096 px, got 4"),
        (
            {"sampler": "unifrm"},
            "sampler must be one of uniform, segment_centre, random_segment, fps; got 'unifrm'. Did you mean 'uniform'",
        ),
        ({"sample_fps": 0.0}, "sample_fps must be above 0 and at most 240, got 0.0"),
        ({"sample_fps": 241.0}, "sample_fps must be above 0 and at most 240, got 241.0"),
        ({"sample_fps": float("nan")}, "sample_fps must be above 0 and at most 240, got nan"),
        ({"sampler_seed": -1}, "sampler_seed must be >= 0, got -1"),
        ({"codec": "png"}, "codec must be one of raw, jpeg; got 'png'"),
        ({"jpeg_quality": 101}, "jpeg_quality must be from 1 to 100, got 101"),
        (
            {"decoder": "pyavv"},
            "decoder must be one of auto, pyav, decord, torchcodec; got 'pyavv'. Did you",
        ),
    ],
)
def test_an_impossible_recipe_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameRecipe(**values)


def test_each_choice_that_changes_pixels_changes_the_address() -> None:
    recipes = [
        FrameRecipe(),
        FrameRecipe(num_frames=8),
        FrameRecipe(size=64),
        FrameRecipe(sampler="segment_centre"),
        FrameRecipe(sampler="random_segment"),
        FrameRecipe(sampler="random_segment", sampler_seed=1),
        FrameRecipe(sampler="fps"),
        FrameRecipe(sampler="fps", sample_fps=2.0),
        FrameRecipe(decoder="pyav"),
        FrameRecipe(codec="jpeg"),
        FrameRecipe(codec="jpeg", jpeg_quality=80),
    ]
    assert len({recipe.hash for recipe in recipes}) == len(recipes)


def test_the_jpeg_quality_does_not_move_a_raw_store() -> None:
    assert FrameRecipe(jpeg_quality=80).hash == FrameRecipe().hash


def test_options_that_the_sampler_does_not_read_keep_old_stores_valid() -> None:
    # the address of the defaults, under which stores lie
    assert FrameRecipe().hash == "019ed0707ffd55b7"
    assert FrameRecipe(sample_fps=2.0, sampler_seed=3).hash == FrameRecipe().hash
    assert FrameRecipe(sampler="fps", sampler_seed=3).hash == FrameRecipe(sampler="fps").hash
    drawn = FrameRecipe(sampler="random_segment")
    assert FrameRecipe(sampler="random_segment", sample_fps=2.0).hash == drawn.hash


def test_a_decoder_from_outside_is_named_by_its_import_path() -> None:
    assert FrameRecipe(decoder="my_package.backends:frames").decoder == "my_package.backends:frames"

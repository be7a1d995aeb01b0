"""A key changes with all that determines a text and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conical.captioning import (
    PROMPTS,
    CaptionerCard,
    CaptionOptions,
    GenerationOptions,
    caption_key,
    caption_rows,
    human_caption_for,
)

CARD = CaptionerCard(name="tiny", model="m", revision="r1", num_frames=8, size_px=64)


def base(**changes: Any) -> dict[str, Any]:
    values = {
        "video_id": "v1",
        "clip": "f1",
        "frame_recipe": "recipe",
        "prompt": PROMPTS["A"],
        "human_caption": "a dog",
        "sample": 0,
        "card": CARD,
        "generation": GenerationOptions(),
    }
    return values | changes


@pytest.mark.parametrize(
    "change",
    [
        {"video_id": "v2"},
        {"clip": "f2"},
        {"frame_recipe": "other"},
        {"prompt": PROMPTS["B"]},
        {"prompt": replace(PROMPTS["A"], version=2)},
        {"human_caption": "a cat"},
        {"sample": 1},
        {"card": replace(CARD, revision="r2")},
        {"card": replace(CARD, model="m2")},
        {"card": replace(CARD, name="other")},
        {"generation": GenerationOptions(max_new_tokens=5)},
        {"generation": GenerationOptions(temperature=0.5)},
    ],
)
def test_a_key_changes_with_each_thing_that_determines_the_text(change: dict[str, Any]) -> None:
    assert caption_key(**base(**change)) != caption_key(**base())


@pytest.mark.parametrize("prompt_id", ["B", "C"])
def test_a_prompt_that_sees_the_video_alone_ignores_the_human_caption(prompt_id: str) -> None:
    prompt = PROMPTS[prompt_id]
    assert caption_key(**base(prompt=prompt)) == caption_key(**base(prompt=prompt, human_caption="a cat"))


def test_prompt_a_gets_the_caption_of_the_sample_number_in_turn() -> None:
    captions = ["one", "two", "three"]
    assert [human_caption_for(captions, sample) for sample in range(5)] == ["one", "two", "three", "one", "two"]
    assert human_caption_for([], 0) is None


def test_rows_of_a_clip_are_all_prompts_and_samples_with_distinct_keys() -> None:
    options = CaptionOptions(samples=2, generation=GenerationOptions(temperature=0.7))
    rows = caption_rows("v", ["one", "two"], options=options, card=CARD, frame_recipe="recipe")
    assert [(row.prompt.id, row.sample) for row in rows] == [
        ("A", 0),
        ("A", 1),
        ("B", 0),
        ("B", 1),
        ("C", 0),
        ("C", 1),
    ]
    assert len({row.key for row in rows}) == 6
    assert ['"one"' in rows[0].text, '"two"' in rows[1].text] == [True, True]


def test_a_clip_without_captions_has_a_row_for_prompt_a_that_says_why_it_fails() -> None:
    rows = caption_rows("v", [], options=CaptionOptions(), card=CARD, frame_recipe="recipe")
    assert [bool(row.error) for row in rows] == [True, False, False]
    assert rows[0].error == "prompt A reads the human caption, but the clip has none"


def test_neither_batch_size_nor_numeric_type_is_part_of_a_key() -> None:
    def keys(**changes: Any) -> list[str]:
        options = CaptionOptions(**changes)
        return [row.key for row in caption_rows("v", ["x"], options=options, card=CARD, frame_recipe="recipe")]

    assert keys(batch_size=3, dtype="float16") == keys()

"""A gallery takes only supplements of prompts that see the video alone, by what the prompt says, not by its letter."""

from __future__ import annotations

import doctest

import pytest

from conical.captioning import CaptionOptions
from conical.core.errors import ProtocolError
from conical.engine import options
from conical.engine.protocols import captioned_gallery, paired_supplement
from conical.engine.protocols.captioned_gallery import refuse_leaking_prompts

CUSTOM = CaptionOptions(
    prompts=("A", "B", "C", "mood", "echo"),
    custom_prompts={"mood": "What is the mood of this video?", "echo": "Say in other words: {caption}"},
).resolved_prompts()


def test_prompts_that_see_the_video_alone_are_taken() -> None:
    refuse_leaking_prompts(CUSTOM, ("B", "C", "mood"))


@pytest.mark.parametrize("prompt", ["A", "echo"])
def test_a_prompt_that_reads_the_human_caption_is_refused(prompt: str) -> None:
    with pytest.raises(
        ProtocolError,
        match=f"captioned-gallery refuses supplements of prompt {prompt}: it reads the human caption, which is the "
        "query, so the gallery would hold the answer; choose evaluate.gallery_prompts from B, C, mood",
    ):
        refuse_leaking_prompts(CUSTOM, ("B", prompt))


def test_a_prompt_that_is_not_captioned_is_refused() -> None:
    prompts = CaptionOptions(prompts=("A", "B")).resolved_prompts()
    with pytest.raises(
        ProtocolError, match=r"wants supplements of prompt C, but captions.prompts is A, B: choose .* from B"
    ):
        refuse_leaking_prompts(prompts, ("C",))
    with pytest.raises(ProtocolError, match="from none of the captioned ones"):
        refuse_leaking_prompts(prompts[:1], ("A",))


@pytest.mark.parametrize("module", [captioned_gallery, options, paired_supplement])
def test_the_examples_are_right(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0

"""Which texts a clip needs, and the key of each: the content address of everything that determines the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conical.captioning.captioner import CaptionerCard
from conical.captioning.generation import GenerationOptions
from conical.captioning.options import CaptionOptions
from conical.captioning.prompts import Prompt
from conical.core.hashing import stable_hash


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """One text to be written.

    Args:
        key: content address, see `caption_key`.
        sample: 0-based number of the text for this prompt.
        text: the rendered prompt; "" when `error` is set.
        error: why the prompt cannot be rendered for this clip.
    """

    key: str
    video_id: str
    prompt: Prompt
    sample: int
    text: str
    error: str = ""


def human_caption_for(captions: Sequence[str], sample: int) -> str | None:
    """The human caption that a prompt reads for one sample: number `sample` modulo their count, None if there is none.

    The rule knows no split, so train, val and test are treated alike. A text made this way repeats what the caption
    says; in a gallery it would leak the query, and the `captioned-gallery` protocol refuses it (docs/method.md 4).

    >>> human_caption_for(["a dog", "a brown dog"], 3)
    'a brown dog'
    """
    return captions[sample % len(captions)] if captions else None


def caption_key(
    *,
    video_id: str,
    clip: str,
    frame_recipe: str,
    prompt: Prompt,
    human_caption: str | None,
    sample: int,
    card: CaptionerCard,
    generation: GenerationOptions,
) -> str:
    """Content address of one text.

    Args:
        clip: fingerprint of the clip's file; "" if unknown.
        frame_recipe: hash of the recipe of the frames watched.
        prompt: the prompt; its hash stands for id, version and text.
        human_caption: the caption that the prompt reads; ignored unless it reads one.
        sample: 0-based number of the text for this prompt.
        card: captioner, model and revision.
        generation: settings; those that do not change the text are left out.

    Returns:
        24 hexadecimal digits. Batch size, device and numeric type are not in it: they change rounding, not meaning.
    """
    return stable_hash(
        {
            "video_id": video_id,
            "clip": clip,
            "frame_recipe": frame_recipe,
            "prompt": prompt.hash,
            "human_caption": human_caption if prompt.reads_human_caption else None,
            "sample": sample,
            "captioner": card.name,
            "model": card.model,
            "revision": card.revision,
            "generation": generation.to_json(),
        },
        length=24,
    )


def caption_rows(
    video_id: str,
    captions: Sequence[str],
    *,
    options: CaptionOptions,
    card: CaptionerCard,
    frame_recipe: str,
    clip: str = "",
) -> list[CaptionRow]:
    """All texts of one clip, prompts in order and the samples of a prompt together.

    Args:
        options: prompts, samples and generation settings.
        frame_recipe: hash of the recipe of the frames watched.
        clip: fingerprint of the clip's file; "" if unknown.

    Returns:
        `len(options.prompts) * options.samples` rows.
    """
    rows = []
    for prompt in options.resolved_prompts():
        for sample in range(options.samples):
            human = human_caption_for(captions, sample)
            key = caption_key(
                video_id=video_id,
                clip=clip,
                frame_recipe=frame_recipe,
                prompt=prompt,
                human_caption=human,
                sample=sample,
                card=card,
                generation=options.generation,
            )
            try:
                text, error = prompt.render(human), ""
            except ValueError as refused:
                text, error = "", str(refused)
            rows.append(CaptionRow(key=key, video_id=video_id, prompt=prompt, sample=sample, text=text, error=error))
    return rows

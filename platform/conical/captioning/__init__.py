"""Supplements: prompts, captioners, keys, the prompt mix and the splitting of long texts."""

from conical.captioning.answers import check_answer, failed_answer
from conical.captioning.captioner import Captioner, CaptionerCard, CaptionText
from conical.captioning.generation import GenerationOptions
from conical.captioning.keys import CaptionRow, caption_key, caption_rows, human_caption_for
from conical.captioning.mix import HUMAN, PromptMix
from conical.captioning.options import CaptionOptions, EndpointOptions
from conical.captioning.prompts import PROMPTS, Prompt
from conical.captioning.splitting import split_text
from conical.captioning.table import CAPTIONERS, CaptionerInfo, create_captioner, describe_captioner

__all__ = [
    "CAPTIONERS",
    "HUMAN",
    "PROMPTS",
    "CaptionOptions",
    "CaptionRow",
    "CaptionText",
    "Captioner",
    "CaptionerCard",
    "CaptionerInfo",
    "EndpointOptions",
    "GenerationOptions",
    "Prompt",
    "PromptMix",
    "caption_key",
    "caption_rows",
    "check_answer",
    "create_captioner",
    "describe_captioner",
    "failed_answer",
    "human_caption_for",
    "split_text",
]

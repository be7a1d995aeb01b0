"""Names to captioners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conical.captioning.captioner import Captioner, CaptionerCard
from conical.captioning.http_endpoint import HttpEndpointCaptioner
from conical.captioning.options import CaptionOptions
from conical.captioning.text_rewriter import TextRewriter
from conical.captioning.video_llava import TinyVideoLlava, VideoTextCaptioner
from conical.core.registry import resolve


@dataclass(frozen=True, kw_only=True)
class CaptionerEntry:
    """A captioner of the house.

    Args:
        build: the class; it imports its heavy libraries when built.
        source: where the model comes from.
        licence: of the weights.
        watches: whether the video is seen at all.
    """

    build: Callable[..., Captioner]
    source: str
    licence: str
    watches: bool


CAPTIONERS: dict[str, CaptionerEntry] = {
    "tiny-video-llava": CaptionerEntry(
        build=TinyVideoLlava,
        source="trained on scenes by jobs/build_tiny_models.py",
        licence="Apache-2.0",
        watches=True,
    ),
    "video-llava": CaptionerEntry(
        build=VideoTextCaptioner,
        source="any video-text-to-text model of transformers; default LanguageBind/Video-LLaVA-7B-hf",
        licence="of the model chosen",
        watches=True,
    ),
    "text-rewriter": CaptionerEntry(
        build=TextRewriter,
        source="any chat model of transformers; stands for the talk's OpenChat comparison",
        licence="of the model chosen",
        watches=False,
    ),
    "http-endpoint": CaptionerEntry(
        build=HttpEndpointCaptioner,
        source="any server of the OpenAI chat form, for example vLLM",
        licence="of the model served",
        watches=True,
    ),
}


def _class_of(options: CaptionOptions) -> Any:
    found = resolve("captioner", options.captioner, CAPTIONERS)
    return found.build if isinstance(found, CaptionerEntry) else found


def describe_captioner(options: CaptionOptions) -> CaptionerCard:
    """The card of the configured captioner, without loading its weights.

    Raises:
        ConfigError: unknown captioner, or one that its options do not fit.
    """
    card: CaptionerCard = _class_of(options).describe(options)
    return card


def create_captioner(options: CaptionOptions, card: CaptionerCard | None = None) -> Captioner:
    """Load the configured captioner.

    Args:
        options: which one and how.
        card: its card when already known, which saves hashing the weights again.

    Raises:
        ConfigError: unknown captioner, or one that its options do not fit.
    """
    captioner: Captioner = _class_of(options)(options, card or describe_captioner(options))
    return captioner

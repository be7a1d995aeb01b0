"""The captioners by name, and how a configured one is described and built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from conical.captioning.captioner import Captioner, CaptionerCard
from conical.captioning.http_endpoint import HttpEndpointCaptioner
from conical.captioning.options import CaptionOptions
from conical.captioning.text_rewriter import TextRewriter
from conical.captioning.video_llava import TinyVideoLlava, VideoTextCaptioner
from conical.core.errors import ConfigError
from conical.core.registry import resolve


@dataclass(frozen=True, kw_only=True)
class CaptionerInfo:
    """One captioner of the table.

    Args:
        name: what `captions.captioner` says.
        summary: what it does, one line.
        build: the class; it imports its heavy libraries when built.
        source: where the model comes from.
        watches: whether the video is seen at all.
    """

    name: str
    summary: str
    build: type[Captioner]
    source: str
    licence: str
    watches: bool


CAPTIONERS: dict[str, CaptionerInfo] = {
    "tiny-video-llava": CaptionerInfo(
        name="tiny-video-llava",
        summary="the bundled tiny Video-LLaVA, for machines without network or GPU",
        build=TinyVideoLlava,
        source="trained on scenes by jobs/build_tiny_models.py",
        licence="Apache-2.0",
        watches=True,
    ),
    "video-llava": CaptionerInfo(
        name="video-llava",
        summary="any video-text-to-text model of transformers, by captions.model",
        build=VideoTextCaptioner,
        source="the hub or a folder; default LanguageBind/Video-LLaVA-7B-hf",
        licence="of the model chosen",
        watches=True,
    ),
    "text-rewriter": CaptionerInfo(
        name="text-rewriter",
        summary="any chat model of transformers; rewrites the human caption, never sees the video",
        build=TextRewriter,
        source="the hub or a folder; stands for [CEO25]'s OpenChat comparison",
        licence="of the model chosen",
        watches=False,
    ),
    "http-endpoint": CaptionerInfo(
        name="http-endpoint",
        summary="any server of the OpenAI chat form, for example vLLM",
        build=HttpEndpointCaptioner,
        source="the server at captions.endpoint.url",
        licence="of the model served",
        watches=True,
    ),
}


def _class_of(options: CaptionOptions) -> type[Captioner]:
    """The class of the configured captioner, of the table or by import path."""
    entry = resolve("captioner", options.captioner, CAPTIONERS)
    if isinstance(entry, CaptionerInfo):
        return entry.build
    if not (isinstance(entry, type) and callable(getattr(entry, "describe", None)) and hasattr(entry, "caption")):
        raise ConfigError(
            f"captioner {options.captioner!r} must be a class with describe and caption, got {entry!r}: see "
            "docs/adding_a_captioner.md"
        )
    return cast(type[Captioner], entry)


def describe_captioner(options: CaptionOptions) -> CaptionerCard:
    """The card of the configured captioner, without loading its weights.

    Raises:
        ConfigError: unknown captioner, or one that its options do not fit.
    """
    return _class_of(options).describe(options)


def create_captioner(options: CaptionOptions, card: CaptionerCard | None = None) -> Captioner:
    """Load the configured captioner.

    Args:
        options: which one and how.
        card: its card when already known, which saves hashing the weights again.

    Raises:
        ConfigError: unknown captioner, or one that its options do not fit.
    """
    return _class_of(options)(options, card or describe_captioner(options))

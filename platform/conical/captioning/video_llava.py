"""Captions by a model that watches the video: Video-LLaVA and other video-text-to-text models of transformers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.captioning.captioner import CaptionerCard, CaptionText, check_frames
from conical.captioning.hugging_face import (
    generate_texts,
    load_pretrained,
    model_revision,
    torch_device_and_dtype,
    without_special_tokens,
)
from conical.captioning.options import CaptionOptions
from conical.core.errors import ConfigError

_TINY_MODEL = Path(__file__).parent.parent / "assets" / "tiny_video_llava"
_DEFAULT_MODEL = "LanguageBind/Video-LLaVA-7B-hf"
_DEFAULT_SIZE_PX = 224


@dataclass(frozen=True)
class _Prefix:
    """The prompt up to the end of the video, run through the language model once for a batch of clips."""

    frames: tuple[NDArray[np.uint8], ...]
    head_ids: tuple[int, ...]
    cache: Any
    length: int


class VideoTextCaptioner:
    """Captions videos with a video-text-to-text model.

    For the Video-LLaVA architecture the video comes before the prompt's text, so its keys and values are computed once
    and shared by all prompts of the same clips: calls with the very same frame arrays reuse them. Other architectures
    take the plain way, one full `generate` a call.

    Args:
        options: model, numeric type, generation settings.
        card: which captioner this is; None: worked out here.

    Raises:
        ConfigError: the model cannot be loaded or has no way to be asked about a video.
    """

    default_model: str = _DEFAULT_MODEL

    def __init__(self, options: CaptionOptions, card: CaptionerCard | None = None) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.card = card or self.describe(options)
        self._generation = options.generation
        self._device, dtype = torch_device_and_dtype(options.dtype)
        revision = None if Path(self.model_of(options)).is_dir() else self.card.revision
        source: dict[str, Any] = {"revision": revision, "trust_remote_code": options.trust_remote_code}
        self._processor = load_pretrained(AutoProcessor, self.model_of(options), **source)
        loaded = load_pretrained(
            AutoModelForImageTextToText, self.model_of(options), dtype=dtype, use_safetensors=True, **source
        )
        self._model = loaded.to(self._device).eval()
        self._tokenizer = self._processor.tokenizer
        # the end of the prompt is where the answer starts, so rows are filled up on the left
        self._tokenizer.padding_side = "left"
        self._shares_prefix = self._model.config.model_type == "video_llava"
        self._prefix: _Prefix | None = None
        if not self._processor.chat_template and not self._shares_prefix:
            raise ConfigError(
                f"captions.model {self.card.model!r} has no chat template: choose a chat model, or add "
                "chat_template.jinja to its folder"
            )

    @classmethod
    def model_of(cls, options: CaptionOptions) -> str:
        """Folder or hub id of the model."""
        return options.model or cls.default_model

    @classmethod
    def describe(cls, options: CaptionOptions) -> CaptionerCard:
        """The card, from the model's config alone.

        Raises:
            ConfigError: there is no such model.
        """
        model = cls.model_of(options)
        revision, config = model_revision(model, options.revision)
        vision = config.get("vision_config") or {}
        return CaptionerCard(
            name=options.captioner,
            model=model,
            revision=revision,
            num_frames=options.num_frames,
            size_px=int(vision.get("image_size") or _DEFAULT_SIZE_PX),
        )

    def caption(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[str], *, seeds: Sequence[int]
    ) -> list[CaptionText]:
        """Caption one batch, see `Captioner.caption`.

        Raises:
            ValueError: frames of a wrong form.
        """
        check_frames(frames, self.card)
        texts = [self._ask(prompt) for prompt in prompts]
        inputs = self._shared_inputs(frames, texts) if self._shares_prefix else self._plain_inputs(frames, texts)
        return generate_texts(self._model, self._tokenizer, inputs=inputs, generation=self._generation, seeds=seeds)

    def _ask(self, prompt: str) -> str:
        plain = without_special_tokens(prompt, self._tokenizer)
        if not self._processor.chat_template:
            return f"USER: {self._processor.video_token}\n{plain} ASSISTANT:"
        content = [{"type": "video"}, {"type": "text", "text": plain}]
        message = [{"role": "user", "content": content}]
        return str(self._processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False))

    def _plain_inputs(self, frames: Sequence[NDArray[np.uint8]], texts: list[str]) -> dict[str, Any]:
        inputs = self._processor(text=texts, videos=list(frames), return_tensors="pt", padding=True)
        inputs = inputs.to(self._device)
        return {name: self._cast(value) for name, value in inputs.items()}

    def _cast(self, value: Any) -> Any:
        return (
            value.to(self._model.dtype) if hasattr(value, "is_floating_point") and value.is_floating_point() else value
        )

    def _shared_inputs(self, frames: Sequence[NDArray[np.uint8]], texts: list[str]) -> dict[str, Any]:
        """Inputs of `generate` whose first part, up to the last token of the video, is already in the cache."""
        import torch

        video_token = self._processor.video_token_id
        rows = [self._tokenizer(text).input_ids for text in texts]
        at = rows[0].index(video_token)
        head = tuple(rows[0][:at])
        assert all(tuple(row[: at + 1]) == (*head, video_token) for row in rows), "prompts must start alike"
        prefix = self._prefix_of(frames, head)
        tails = [row[at + 1 :] for row in rows]
        longest = max(len(tail) for tail in tails)
        pad = self._tokenizer.pad_token_id or 0
        # the cached part is never looked up again, its ids only have to be there
        ids = [[pad] * (prefix.length + longest - len(tail)) + tail for tail in tails]
        mask = [[1] * prefix.length + [0] * (longest - len(tail)) + [1] * len(tail) for tail in tails]
        return {
            "input_ids": torch.tensor(ids, device=self._device),
            "attention_mask": torch.tensor(mask, device=self._device),
            # generate writes into its cache
            "past_key_values": copy.deepcopy(prefix.cache),
        }

    def _prefix_of(self, frames: Sequence[NDArray[np.uint8]], head: tuple[int, ...]) -> _Prefix:
        import torch
        from transformers import DynamicCache

        old = self._prefix
        if old and old.head_ids == head and len(old.frames) == len(frames) and all(map(_is_same, old.frames, frames)):
            return old
        self._prefix = None  # frees the old keys and values before the new ones are made
        model = self._model.model
        with torch.inference_mode():
            pixels = self._processor.video_processor(list(frames), return_tensors="pt")["pixel_values_videos"]
            features = model.get_video_features(self._cast(pixels).to(self._device)).pooler_output
            video = features.reshape(len(frames), -1, features.shape[-1])
            head_ids = torch.tensor([head] * len(frames), device=self._device, dtype=torch.long)
            embeds = torch.cat([model.get_input_embeddings()(head_ids), video.to(self._model.dtype)], dim=1)
            cache = DynamicCache(config=self._model.config.text_config)
            model.language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        # the arrays are kept, not their ids: an id may be used again after its array is gone
        self._prefix = _Prefix(frames=tuple(frames), head_ids=head, cache=cache, length=embeds.shape[1])
        return self._prefix


class TinyVideoLlava(VideoTextCaptioner):
    """The tiny Video-LLaVA that comes with the package, for machines without network or GPU.

    Its card names it `tiny-video-llava` instead of a path, so that keys are the same on every machine.
    """

    default_model = str(_TINY_MODEL)

    @classmethod
    def describe(cls, options: CaptionOptions) -> CaptionerCard:
        """The card, see `VideoTextCaptioner.describe`."""
        card = super().describe(options)
        return card if options.model else replace(card, model="tiny-video-llava")


def _is_same(first: object, second: object) -> bool:
    return first is second

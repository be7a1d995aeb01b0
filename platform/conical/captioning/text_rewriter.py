"""Captions rewritten by a text-only language model that never sees the video: [CEO25]'s OpenChat comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.captioning.captioner import CaptionerCard, CaptionText
from conical.captioning.hugging_face import (
    generate_texts,
    load_pretrained,
    model_revision,
    torch_device_and_dtype,
    without_special_tokens,
)
from conical.captioning.options import CaptionOptions
from conical.core.errors import ConfigError


class TextRewriter:
    """Rewrites the human caption with a chat model.

    Args:
        options: model, numeric type, generation settings; its prompts must read the human caption.
        card: which captioner this is; None: worked out here.

    Raises:
        ConfigError: no model is named, it has no chat template, or a prompt asks about a video.
    """

    def __init__(self, options: CaptionOptions, card: CaptionerCard | None = None) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.card = card or self.describe(options)
        self._generation = options.generation
        self._device, dtype = torch_device_and_dtype(options.dtype)
        model = self.card.model
        revision = None if Path(model).is_dir() else self.card.revision
        source: dict[str, Any] = {"revision": revision, "trust_remote_code": options.trust_remote_code}
        self._tokenizer = load_pretrained(AutoTokenizer, model, **source)
        loaded = load_pretrained(AutoModelForCausalLM, model, dtype=dtype, use_safetensors=True, **source)
        self._model = loaded.to(self._device).eval()
        self._tokenizer.padding_side = "left"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if not self._tokenizer.chat_template:
            raise ConfigError(
                f"captions.model {model!r} has no chat template: choose a chat model, or add chat_template.jinja "
                "to its folder"
            )

    @classmethod
    def describe(cls, options: CaptionOptions) -> CaptionerCard:
        """The card, from the model's config alone.

        Raises:
            ConfigError: no model is named, there is no such model, or a prompt asks about a video.
        """
        blind = [prompt.id for prompt in options.resolved_prompts() if not prompt.reads_human_caption]
        if blind:
            raise ConfigError(
                f"captioner {options.captioner} sees no video, so its prompts must read the human caption, got "
                f'{", ".join(blind)}: set captions.prompts = ["A"]'
            )
        if options.model is None:
            raise ConfigError(
                f"captioner {options.captioner} has no default model: set captions.model to a folder or hub id of a "
                "chat model"
            )
        revision, _ = model_revision(options.model, options.revision)
        return CaptionerCard(name=options.captioner, model=options.model, revision=revision, num_frames=0, size_px=0)

    def caption(
        self,
        frames: Sequence[NDArray[np.uint8]],  # noqa: ARG002 - the protocol's; not looking is the point
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
    ) -> list[CaptionText]:
        """Rewrite one batch, see `Captioner.caption`; the frames are not looked at."""
        texts = [self._ask(prompt) for prompt in prompts]
        # the template has written the start token already
        inputs = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(self._device)
        wanted = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return generate_texts(self._model, self._tokenizer, inputs=wanted, generation=self._generation, seeds=seeds)

    def _ask(self, prompt: str) -> str:
        message = [{"role": "user", "content": without_special_tokens(prompt, self._tokenizer)}]
        return str(self._tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False))

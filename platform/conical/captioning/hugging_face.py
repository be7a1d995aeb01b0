"""What the captioners on transformers share: which files a model is, its numeric type, and generation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conical.captioning.captioner import CaptionText
from conical.captioning.generation import GenerationOptions
from conical.core.errors import ConfigError
from conical.core.hashing import file_fingerprint, stable_hash

_MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")


def model_revision(model: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """What exactly a model is, and its config, without loading weights.

    Args:
        model: local folder or hub id.
        revision: commit or tag on the hub; a local folder has none.

    Returns:
        Hash of a local folder's files, or the hub's commit; and the content of `config.json`.

    Raises:
        ConfigError: neither a folder with a model nor a model that the hub or its local cache gives out.
    """
    folder = Path(model)
    if not folder.is_dir() and model.startswith((".", "/", "~")):
        raise ConfigError(f"captions.model {model!r} is no folder: give a folder with config.json, or a hub id")
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(f"captions.revision is for hub models, but {model!r} is a local folder: leave it out")
        if not (folder / "config.json").is_file():
            raise ConfigError(f"captions.model {model!r} holds no config.json: give a folder saved by save_pretrained")
        files = {path.name: file_fingerprint(path) for pattern in _MODEL_FILES for path in folder.glob(pattern)}
        return stable_hash(files), json.loads((folder / "config.json").read_text(encoding="utf-8"))
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        config = Path(hf_hub_download(model, "config.json", revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"captions.model {model!r} is neither a folder nor reachable on the hub ({reason}): give a folder with the "
            "model, or download it first"
        ) from error
    # the hub's cache keeps a file under snapshots/<commit>/
    return config.parent.name, json.loads(config.read_text(encoding="utf-8"))


def torch_device_and_dtype(dtype: str) -> tuple[Any, Any]:
    """The device of this process and the numeric type of weights on it."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if dtype != "auto":
        return device, getattr(torch, dtype)
    if device.type == "cpu":
        return device, torch.float32
    return device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def load_pretrained(
    auto_class: Any, model: str, *, revision: str | None, trust_remote_code: bool, **further: Any
) -> Any:
    """`from_pretrained` with the house's rules; what cannot be loaded is a user's mistake in one line.

    Raises:
        ConfigError: the files are missing, of another kind, or no safetensors.
    """
    from transformers.utils import logging as transformers_logging

    # its bar of loaded weights and its hints would be printed once an actor
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        return auto_class.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code, **further)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"captions.model {model!r} cannot be loaded by {auto_class.__name__}: {reason}") from error


def without_special_tokens(prompt: str, tokenizer: Any) -> str:
    """The prompt with the model's control words blanked, so that a caption of people cannot pose as one."""
    for token in tokenizer.get_added_vocab():
        if not token.isspace():
            prompt = prompt.replace(token, " ")
    return prompt


class SeededSampling:
    """Sampling inside greedy search: scores plus Gumbel noise, whose argmax is a draw from the softmax.

    Each row has its own generator, so its text does not depend on the batch it stands in.

    Args:
        generation: temperature above 0 and top_p.
        seeds: one seed a row.

    Source:
        Gumbel-max trick: argmax(s / T + g), g ~ Gumbel(0, 1), is distributed as softmax(s / T).
    """

    def __init__(self, generation: GenerationOptions, seeds: Sequence[int]) -> None:
        import torch

        self._temperature = generation.temperature
        self._top_p = generation.top_p
        # on the CPU, so that a GPU's own generator does not change the draw
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - the form transformers calls
        import torch

        scaled = scores.float() / self._temperature
        if self._top_p < 1:
            ordered, order = scaled.softmax(dim=-1).sort(dim=-1, descending=True)
            # a token goes when those before it already hold the mass; the likeliest always stays
            outside = ordered.cumsum(dim=-1) - ordered >= self._top_p
            scaled = scaled.masked_fill(outside.scatter(-1, order, outside), float("-inf"))
        noise = torch.stack([torch.rand(scores.shape[-1], generator=each) for each in self._generators])
        tiny = torch.finfo(torch.float32).tiny
        exponential = (-noise.clamp(min=tiny).log()).clamp(min=tiny)
        gumbel = -exponential.log()
        return scaled + gumbel.to(scaled.device)


def generate_texts(
    model: Any, tokenizer: Any, *, inputs: dict[str, Any], generation: GenerationOptions, seeds: Sequence[int]
) -> list[CaptionText]:
    """Generate for one left-padded batch and decode only what is new.

    Args:
        model: a transformers model that generates.
        inputs: arguments of `generate`, with `input_ids` (batch, length) and `attention_mask`.
        seeds: one seed a row.

    Returns:
        One answer a row.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    own = model.generation_config
    eos = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    eos_ids = [eos] if isinstance(eos, int) else list(eos or ())
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (eos_ids or [0])[0]
    config = GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        do_sample=False,
        num_beams=1,
        bos_token_id=own.bos_token_id,
        eos_token_id=eos_ids or None,
        pad_token_id=pad_id,
    )
    processors = LogitsProcessorList([] if generation.is_greedy else [SeededSampling(generation, seeds)])
    with torch.inference_mode():
        output = model.generate(**inputs, generation_config=config, logits_processor=processors)
    new_tokens = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [_to_text(tokens, tokenizer=tokenizer, eos_ids=eos_ids) for tokens in new_tokens]


def _to_text(tokens: list[int], *, tokenizer: Any, eos_ids: list[int]) -> CaptionText:
    ends = [index for index, token in enumerate(tokens) if token in eos_ids]
    tokens_out = ends[0] if ends else len(tokens)
    text = " ".join(tokenizer.decode(tokens[:tokens_out], skip_special_tokens=True).split())
    return CaptionText(text=text, tokens_out=tokens_out, truncated=not ends)

"""Options of the caption stage."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from conical.captioning.generation import GenerationOptions
from conical.captioning.prompts import PROMPTS, Prompt
from conical.core.options import Options, did_you_mean, require, require_choice

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class EndpointOptions(Options):
    """Where an OpenAI-compatible server answers (captioner `http-endpoint`).

    Args:
        url: base address, up to and including `/v1`.
        api_key_env: NAME of the environment variable that holds the key; "": no key is sent. The key itself never
            stands in a config.
        timeout_seconds: limit of one request, > 0; also the longest pause that a busy server may ask for.
        max_retries: further attempts after a refused connection, a timeout or a busy server, 0 to 10.
        concurrency: requests in flight at once, >= 1.

    Raises:
        ValueError: a value is out of range.
    """

    url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str = ""
    timeout_seconds: float = 120.0
    max_retries: int = 3
    concurrency: int = 8

    def __post_init__(self) -> None:
        require(
            self.url.startswith(("http://", "https://")),
            f"endpoint.url must start with http:// or https://, got {self.url!r}",
        )
        parts = urlsplit(self.url)
        require(
            parts.username is None and parts.password is None,
            "endpoint.url must hold no user name or password: put the key into an environment variable and name that "
            "in endpoint.api_key_env",
        )
        require(bool(parts.hostname), f"endpoint.url must name a host, got {self.url!r}")
        require(
            not self.api_key_env or self.api_key_env.isidentifier(),
            "endpoint.api_key_env must be the NAME of an environment variable (letters, digits, underscore); "
            "the key itself never goes into a config",
        )
        require(self.timeout_seconds > 0, f"endpoint.timeout_seconds must be > 0, got {self.timeout_seconds}")
        require(0 <= self.max_retries <= 10, f"endpoint.max_retries must be between 0 and 10, got {self.max_retries}")
        require(self.concurrency >= 1, f"endpoint.concurrency must be >= 1, got {self.concurrency}")

    def api_key(self) -> str:
        """The key, or "" when none is configured.

        Raises:
            ValueError: the environment variable is not set, or cannot stand in a header.
        """
        if not self.api_key_env:
            return ""
        variable = f"the environment variable {self.api_key_env} named by endpoint.api_key_env"
        key = os.environ.get(self.api_key_env, "").strip()
        require(bool(key), f"{variable} is not set: export it first")
        # checked here, since a complaint of the HTTP client would print the key
        require(key.isascii() and key.isprintable(), f"{variable} holds characters that no key has: export it again")
        return key


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(Options):
    """Who captions, with which prompts.

    Args:
        captioner: a name of `CAPTIONERS`, or `package.module:Class`.
        model: folder or hub id; None: the captioner's own default.
        revision: commit or tag on the hub; None: the newest, whose commit goes into the ledger.
        prompts: ids of the prompts, each once.
        custom_prompts: further prompts, id to text; `{caption}` in a text stands for the human caption.
        samples: texts per clip and prompt, >= 1. A prompt that reads the human caption gets another one each time.
        batch_size: clips captioned at once, >= 1; part of no key, but a re-run must keep it to be bit-identical, since
            the rounding of a batched product may depend on its shape.
        num_frames: frames that a video model watches (Video-LLaVA: exactly 8).
        generation: length and sampling.
        endpoint: the server, for `http-endpoint`.
        dtype: numeric type of the weights; `auto` is bfloat16 (else float16) on a GPU, float32 on a CPU.
        trust_remote_code: run Python code that comes with the model; off unless you have read that code.
        retry_failed: try texts again that could not be written before.
        max_missing: share of a prompt's texts that may have failed before training and scoring refuse to go on
            without them, in [0, 1); fewer are named with every number. A prompt without any text is always refused.

    Raises:
        ValueError: a value is out of range or unknown.
    """

    captioner: str = "tiny-video-llava"
    model: str | None = None
    revision: str | None = None
    prompts: tuple[str, ...] = ("A", "B", "C")
    custom_prompts: dict[str, str] = field(default_factory=dict)
    samples: int = 1
    batch_size: int = 16
    num_frames: int = 8
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)
    dtype: str = "auto"
    trust_remote_code: bool = False
    retry_failed: bool = True
    max_missing: float = 0.05

    def __post_init__(self) -> None:
        # a TOML array arrives as a list; options are hashable and equal only as a tuple
        object.__setattr__(self, "prompts", tuple(self.prompts))
        require(self.samples >= 1, f"samples must be >= 1, got {self.samples}")
        require(self.batch_size >= 1, f"batch_size must be >= 1, got {self.batch_size}")
        require(self.num_frames >= 1, f"num_frames must be >= 1, got {self.num_frames}")
        require(0 <= self.max_missing < 1, f"max_missing must be at least 0 and below 1, got {self.max_missing}")
        require_choice("dtype", self.dtype, DTYPES)
        self._check_prompts()

    def _check_prompts(self) -> None:
        known = (*PROMPTS, *self.custom_prompts)
        require(len(self.prompts) >= 1, f"prompts must name at least one of {', '.join(known)}")
        for prompt_id in self.custom_prompts:
            require(
                prompt_id not in (*PROMPTS, "human") and bool(prompt_id),
                f"custom_prompts must not reuse the name {prompt_id!r}: choose another id",
            )
        for prompt_id, count in Counter(self.prompts).items():
            require(count == 1, f"prompts must name each prompt once, got {prompt_id!r} {count} times")
            require(
                prompt_id in known,
                f"unknown prompt {prompt_id!r}: choose from {', '.join(known)}, or add its text to custom_prompts."
                + did_you_mean(prompt_id, known),
            )
        blind = [prompt.id for prompt in self.resolved_prompts() if not prompt.reads_human_caption]
        require(
            self.samples == 1 or not self.generation.is_greedy or not blind,
            f"samples must be 1 for prompt {', '.join(blind)} at temperature 0, got {self.samples}: each sample would "
            "be the same text; raise generation.temperature",
        )

    def resolved_prompts(self) -> tuple[Prompt, ...]:
        """The prompts in the order of `prompts`."""
        custom = {
            prompt_id: Prompt(id=prompt_id, version=1, text=text, reads_human_caption="{caption}" in text)
            for prompt_id, text in self.custom_prompts.items()
        }
        return tuple((PROMPTS | custom)[prompt_id] for prompt_id in self.prompts)

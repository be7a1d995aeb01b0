"""Captions by a server of the OpenAI chat form (vLLM and others): frames travel as JPEG inside the request."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from conical.captioning.answers import failed_answer, shown
from conical.captioning.captioner import CaptionerCard, CaptionText, check_frames
from conical.captioning.chat_server import ChatServer, NotServedError, RefusedRowError
from conical.captioning.options import CaptionOptions
from conical.core.errors import ClusterError, ConfigError

_JPEG_QUALITY = 90
# A request that breaks the server breaks it again in a re-run, which may ask for nothing else; so many in a row are no
# matter of their content.
_UNSERVED_IN_A_ROW = 8
_SEED_BITS = 31  # servers read the seed as a signed 32-bit number


class HttpEndpointCaptioner:
    """Captions videos by requests to `<url>/chat/completions`.

    A server that is away, busy for too long or refuses the key ends the job. A request that it refuses for its content
    is a failure of that row alone, and so is one that it breaks on (status 500, no end of the answer), unless it serves
    no other.

    Args:
        options: model name, endpoint, generation settings.
        card: which captioner this is; None: worked out here.

    Raises:
        ConfigError: no model is named, the environment variable of the key is not set, or a proxy cannot be used.
    """

    def __init__(self, options: CaptionOptions, card: CaptionerCard | None = None) -> None:
        self.card = card or self.describe(options)
        self._concurrency = options.endpoint.concurrency
        self._generation = options.generation
        self._server = ChatServer(options.endpoint)
        self._unserved_in_a_row = 0

    @classmethod
    def describe(cls, options: CaptionOptions) -> CaptionerCard:
        """The card; the revision is what the user says it is, since a server does not tell.

        Raises:
            ConfigError: no model is named.
        """
        if options.model is None:
            raise ConfigError(
                f"captioner {options.captioner} has no default model: set captions.model to the name served"
            )
        return CaptionerCard(
            name=options.captioner,
            model=options.model,
            revision=options.revision or "unknown",
            num_frames=options.num_frames,
            size_px=0,
            is_row_by_row=True,
        )

    def caption(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[str], *, seeds: Sequence[int]
    ) -> list[CaptionText]:
        """Caption one batch, see `Captioner.caption`.

        Raises:
            ValueError: frames of a wrong form.
            ClusterError: the server is away or refuses to serve.
        """
        check_frames(frames, self.card)
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            answers = list(pool.map(self._caption_one, frames, prompts, seeds))
        self._refuse_dead_server(answers)
        return [failed_answer(str(answer)) if isinstance(answer, NotServedError) else answer for answer in answers]

    def _refuse_dead_server(self, answers: Sequence[CaptionText | NotServedError]) -> None:
        problems = [answer for answer in answers if isinstance(answer, NotServedError)]
        is_served = len(problems) < len(answers)
        self._unserved_in_a_row = 0 if is_served else self._unserved_in_a_row + len(problems)
        fatal = [problem for problem in problems if problem.is_final or not (is_served or problem.may_be_of_the_row)]
        if self._unserved_in_a_row >= _UNSERVED_IN_A_ROW:
            fatal = fatal or problems
        if fatal:
            raise ClusterError(
                f"the caption server at {self._server.url} does not serve ({fatal[0]}): {self._server.advice}; "
                "finished captions are kept"
            )

    def _caption_one(self, clip: NDArray[np.uint8], prompt: str, seed: int) -> CaptionText | NotServedError:
        images = [{"type": "image_url", "image_url": {"url": _jpeg_url(frame)}} for frame in clip]
        body = {
            "model": self.card.model,
            "messages": [{"role": "user", "content": [*images, {"type": "text", "text": prompt}]}],
            "max_tokens": self._generation.max_new_tokens,
            "temperature": self._generation.temperature,
            "top_p": self._generation.top_p,
            "seed": seed % (1 << _SEED_BITS),
        }
        try:
            return _text_of(self._server.ask(json.dumps(body).encode()))
        except RefusedRowError as refused:
            return failed_answer(str(refused))
        except NotServedError as problem:
            return problem


def _text_of(answer: bytes) -> CaptionText:
    """The text as the server gave it; `check_answer` looks at it, as at any captioner's."""
    try:
        parsed = json.loads(answer)
        choice = parsed["choices"][0]
        message = choice["message"]
        content, finish = message["content"], choice.get("finish_reason")
        # servers that take the thoughts out of the text hand them over beside it
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        tokens_out = (parsed.get("usage") or {}).get("completion_tokens") or 0
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return failed_answer(f"unreadable answer: {shown(answer.decode('utf-8', errors='replace'))}")
    if not content and message.get("refusal"):
        return failed_answer(f"refusal: {shown(message['refusal'])}")
    if not content and thoughts:
        return failed_answer(f"cut off in mid-thought: {shown(thoughts)}")
    return CaptionText(text=content, tokens_out=tokens_out, truncated=finish == "length")


def _jpeg_url(frame: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

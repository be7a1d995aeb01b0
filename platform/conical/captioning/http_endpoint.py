"""Captions by a server of the OpenAI chat form (vLLM and others): frames travel as JPEG inside the request."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conical.captioning.captioner import CaptionerCard, CaptionText, check_frames
from conical.captioning.options import CaptionOptions
from conical.core.errors import ClusterError, ConfigError

_JPEG_QUALITY = 90
_BUSY = (408, 429, 500, 502, 503, 504)
_REFUSED_ROW = (400, 413, 422)
_FIRST_PAUSE_SECONDS = 0.5
_SEED_BITS = 31  # servers read the seed as a signed 32-bit number


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Following a redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class HttpEndpointCaptioner:
    """Captions videos by requests to `<url>/chat/completions`.

    A server that is away, too slow or refuses the key ends the job; a request that it refuses for its content is a
    failure of that row alone.

    Args:
        options: model name, endpoint, generation settings.
        card: which captioner this is; None: worked out here.

    Raises:
        ConfigError: no model is named, or the environment variable of the key is not set.
    """

    def __init__(self, options: CaptionOptions, card: CaptionerCard | None = None) -> None:
        self.card = card or self.describe(options)
        self._endpoint = options.endpoint
        self._generation = options.generation
        self._opener = urllib.request.build_opener(_NoRedirect())
        try:
            self._key = self._endpoint.api_key()
        except ValueError as error:
            raise ConfigError(str(error)) from error

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
        with ThreadPoolExecutor(max_workers=self._endpoint.concurrency) as pool:
            return list(pool.map(self._caption_one, frames, prompts, seeds))

    def _caption_one(self, clip: NDArray[np.uint8], prompt: str, seed: int) -> CaptionText:
        images = [{"type": "image_url", "image_url": {"url": _jpeg_url(frame)}} for frame in clip]
        body = {
            "model": self.card.model,
            "messages": [{"role": "user", "content": [*images, {"type": "text", "text": prompt}]}],
            "max_tokens": self._generation.max_new_tokens,
            "temperature": self._generation.temperature,
            "top_p": self._generation.top_p,
            "seed": seed % (1 << _SEED_BITS),
        }
        status, answer = self._post(json.dumps(body).encode())
        if status != 200:
            return CaptionText(text="", tokens_out=0, truncated=False, error=f"HTTP {status}: {_one_line(answer)}")
        try:
            parsed = json.loads(answer)
            choice = parsed["choices"][0]
            text = " ".join(str(choice["message"]["content"] or "").split())
            tokens_out = int((parsed.get("usage") or {}).get("completion_tokens") or 0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return CaptionText(text="", tokens_out=0, truncated=False, error=f"unreadable answer: {_one_line(answer)}")
        return CaptionText(text=text, tokens_out=tokens_out, truncated=choice.get("finish_reason") == "length")

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """One request, repeated while the server is busy or away."""
        url = self._endpoint.url.rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        problem = ""
        for attempt in range(self._endpoint.max_retries + 1):
            if attempt:
                time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            request = urllib.request.Request(url, data=body, headers=headers, method="POST")
            try:
                with self._opener.open(request, timeout=self._endpoint.timeout_seconds) as response:
                    return response.status, response.read()
            except urllib.error.HTTPError as error:
                answer = error.read()
                if error.code in _REFUSED_ROW:
                    return error.code, answer
                problem = f"HTTP {error.code}: {_one_line(answer)}"
                if error.code not in _BUSY:
                    break
            except (TimeoutError, urllib.error.URLError, HTTPException, ConnectionError) as error:
                problem = _one_line(str(getattr(error, "reason", error)).encode())
        raise ClusterError(
            f"the caption server at {url} does not serve ({problem}): start it, check captions.endpoint.url, "
            "captions.model and the key, then run again; finished captions are kept"
        )


def _one_line(answer: bytes) -> str:
    return " ".join(answer.decode("utf-8", errors="replace").split())[:200] or "no text"


def _jpeg_url(frame: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
